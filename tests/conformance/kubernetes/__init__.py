"""Kubernetes' e2e.test as a judge.

lists       which tests, and which can never run here
run         ginkgo and e2e.test: their command lines, and what comes out
calling     long-running programs
progress    ginkgo's output -> a line per test
judge       a list on one cluster
results     ginkgo's report -> `Result`s
pods        the API server's audit log -> which tests start pods
by_design   the committed list of differences that are meant
compare     direct and through -> the comparison, and what is wrong with it
"""
