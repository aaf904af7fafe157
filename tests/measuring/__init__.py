"""What all measurements have in common, whatever they measure.

What flows where: `command` is the frame of `python -m tests.load`, `tests.reliability` and
`tests.bench`: it carries measurements out and shows their reports; `report` turns numbers into
tables, ratios and verdicts; `footprint` looks at processes; `watching` brings every version of
objects, and `onlooker` does so on a thread; `broken` takes a rule out of an agent.
"""
