"""What one container group may hold, as documented for CreateContainerGroup (docs/eci.md).

Numbers only; who checks them: `features` for what a pod says itself, `env` and `volumes` for what
comes out of ConfigMaps and Secrets.
"""

import re

CONTAINERS = 20
"""Init containers included."""
VOLUMES = 20
ARGUMENTS = 10
WORDS = 20
"""Words of a command: of a container, and of ExecContainerCommand."""
WORD = 256
"""Characters of one word."""
VALUE = 256
"""Characters of an environment variable's value."""
VARIABLES = 240
"""Variables of one container."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
"""Names of environment variables."""
FILE = 32 << 10
"""Bytes of one file of a ConfigFileVolume."""
FILES = 60 << 10
"""Bytes of all files of a ConfigFileVolume."""
FILE_COUNT = 90
"""Files of one ConfigFileVolume."""
LOGINS = 10
"""Logins for image registries."""
CAPABILITIES = frozenset({"NET_ADMIN", "NET_RAW"})
"""Linux capabilities that can be added."""
IMAGE = 255
"""Characters of an image's name."""
NAME = 128
"""Characters of a container group's name; at least 2."""
TAGS = 20
TAG_KEY = 64
TAG_VALUE = 128
ZONES = 10
"""vSwitches, and with them zones, that one create may name."""
SPECS = 5
"""Instance types that one create may name."""
HOST_NAME = 63
RESERVED_PORTS = frozenset({111, 10250, 10255})
EPHEMERAL_GIB = 30
"""Local storage that every group has."""
