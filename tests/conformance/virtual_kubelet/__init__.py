"""virtual-kubelet's own end-to-end suite as a judge.

main_test.go, go.mod, go.sum    the suite as a Go module dependency, and the flags it gets
suite                           builds and runs it
verdicts                        its output -> what each test said
"""
