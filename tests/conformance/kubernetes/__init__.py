"""Kubernetes' e2e.test as a judge.

lists       which tests, and which can never run here
run         ginkgo and e2e.test as processes, progress while they run
results     ginkgo's report -> `Result`s
pods        the API server's audit log -> which tests started a pod
by_design   the committed list of differences that are meant
compare     direct and through -> the comparison, and what is wrong with it
"""
