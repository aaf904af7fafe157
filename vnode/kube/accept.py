"""What we ask the API server to answer with: whole objects, or their metadata alone.

Media types of the Accept header; JSON stands behind the others for servers that cannot shorten.
Source: Kubernetes API concepts, "Alternate representations of resources".
"""

__all__ = ["JSON", "METADATA_ONLY", "METADATA_ONLY_LIST"]

JSON = "application/json"
METADATA_ONLY = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"
"""For one object, and for each event of a watch."""
METADATA_ONLY_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"
