"""Containers that really run, on this machine, from the images that the project's clusters use.

In: root, archives of images as `docker save` writes them. Out: each group as a tree of namespaces,
each container with a root file system of its own:

    emulator ─ holder ─ init of the group          process ids, mounts, host name, IPC, network
             └ launcher ─ … ─ the container         its own mounts and process ids, inside those

`images` unpacks, `engine` starts and stops and asks probes, `session` is exec, `launcher` is the
program that enters namespaces. Volumes are mounts of the group's namespace that are shared by
propagation, so that what a sidecar mounts with `Bidirectional` is seen by `HostToContainer`.

Everything ends with the emulator, also by kill -9: each process asks the kernel to die with its
parent, and the init of a group takes all others with it. Folders that are left are removed by the
next emulator. Resources are not limited; there is no network but the loopback of the group.
"""
