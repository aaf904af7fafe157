"""Fluid's resources (data.fluid.io/v1alpha1)."""

from vnode.kube.resources import Resource

GROUP, VERSION = "data.fluid.io", "v1alpha1"
DATASETS = Resource(GROUP, VERSION, "datasets", "Dataset")
THIN_RUNTIMES = Resource(GROUP, VERSION, "thinruntimes", "ThinRuntime")
DATA_LOADS = Resource(GROUP, VERSION, "dataloads", "DataLoad")
