// Package virtualkubelet runs virtual-kubelet's end-to-end suite, unchanged, against one of our nodes.
//
// In: a kubeconfig with all rights in the tenant, a namespace, the name of a virtual node. Out: the
// verdict of each of the suite's tests, in the words of `go test -v`. The suite asks the node for its
// statistics through `pods/https:NODE:10250/proxy`, so the namespace needs a pod object of the node's
// name whose address is that of the node's kubelet API; tests/conformance/vk_suite.py makes it.
package virtualkubelet

import (
	"flag"
	"testing"

	"github.com/virtual-kubelet/virtual-kubelet/test/e2e"
)

var (
	kubeconfig = flag.String("kubeconfig", "", "kubeconfig with all rights in the tenant cluster")
	namespace  = flag.String("namespace", "default", "namespace in which the suite makes its pods")
	nodeName   = flag.String("node-name", "", "name of the virtual node")
)

func TestVirtualKubelet(t *testing.T) {
	e2e.NewEndToEndTestSuite(e2e.EndToEndTestSuiteConfig{
		Kubeconfig: *kubeconfig,
		Namespace:  *namespace,
		NodeName:   *nodeName,
	}).Run(t)
}
