"""What the copies in a compute cluster use: where it is measured, and how it is counted.

`reader` is asked by the backend. It asks one or two sources (`metrics_api`, `kubelet`) through
`scopes`, which bounds the asking, and lets `counters` make CPU times of what they say.
"""
