"""Volumes: empty directories, and everything else as files that are written into the group.

In: volumes of a pod and what they refer to. Out: EmptyDirVolume and ConfigFileVolume parameters.
Files are frozen: ConfigMaps, Secrets, labels and tokens that change later do not reach the group.
Rules of a kubelet: `items` choose keys, missing ones are refused unless optional; the source that
comes last wins a path. A volume without files becomes an empty directory, since nothing says that
ECI takes a ConfigFileVolume without any.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from federation.backends.eci.parameters import Parameter, Parameters
from federation.backends.eci.translate import downward, limits
from federation.backends.eci.translate.env import Environment
from federation.backends.eci.translate.purchase import quantity
from federation.backends.eci.translate.spec import (
    Container,
    DownwardSource,
    EmptyDir,
    ObjectSource,
    Source,
    TokenSource,
    Volume,
)
from federation.backends.translation.rules import Refused, rejected
from vnode.backend import ReferenceKind, Waiting
from vnode.pods.objects.references import token_key

__all__ = ["volume"]

_MODE = 0o644
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, repr=False)
class _File:
    content: bytes
    mode: int | None = None


def volume(one: Volume, where: str, at: Environment) -> Parameters:
    """One Volume parameter.

    Raises:
        Rejected: it does not fit into ECI's limits; names the field.
        Waiting: something that it refers to is not there.
    """
    if one.empty_dir is not None:
        return _empty(one.name, one.empty_dir, f"{where}.emptyDir")
    files: dict[str, _File] = {}
    for source, field, mode in _sources(one, where):
        for path, file in _files(source, field, one, at):
            files[path] = _File(file.content, mode if file.mode is None else file.mode)
    if not files:
        return _empty(one.name, EmptyDir(), where)
    _check_sizes(files, where)
    return {
        "Name": one.name,
        "Type": "ConfigFileVolume",
        "ConfigFileVolume": {
            "ConfigFileToPath": [
                {
                    "Path": path,
                    "Content": base64.b64encode(file.content).decode(),
                    "Mode": _octal(file.mode),
                }
                for path, file in sorted(files.items())
            ]
        },
    }


def _empty(name: str, directory: EmptyDir, where: str) -> Parameters:
    if directory.medium not in ("", "Memory"):
        with rejected(where):
            raise Refused(f"medium {directory.medium!r} cannot be had on ECI: use Memory, or none")
    options: dict[str, Parameter] = {"Medium": directory.medium or None}
    if directory.size_limit is not None:
        bytes_ = quantity(directory.size_limit, f"{where}.sizeLimit").nanos // 10**9
        if bytes_:
            options["SizeLimit"] = f"{-(-bytes_ // _MIB)}Mi"
    return {"Name": name, "Type": "EmptyDirVolume", "EmptyDirVolume": options}


def _sources(one: Volume, where: str) -> Iterator[tuple[Source, str, int]]:
    """The sources of a volume with their fields and the mode of files that name none."""
    if one.projected is not None:
        default = one.projected.default_mode
        for index, source in enumerate(one.projected.sources):
            field = f"{where}.projected.sources[{index}]"
            yield source, field, _MODE if default is None else default
        return
    for part in (one.config_map, one.secret, one.downward_api):
        if part is not None:
            yield one, where, _MODE if part.default_mode is None else part.default_mode


def _files(source: Source, where: str, one: Volume, at: Environment) -> Iterator[tuple[str, _File]]:
    if source.config_map is not None:
        field = f"{where}.configMap"
        yield from _object(ReferenceKind.CONFIG_MAP, source.config_map, field, at)
    if source.secret is not None:
        yield from _object(ReferenceKind.SECRET, source.secret, f"{where}.secret", at)
    if source.downward_api is not None:
        yield from _downward(source.downward_api, f"{where}.downwardAPI", at)
    if source.service_account_token is not None:
        yield _token(source.service_account_token, f"{where}.serviceAccountToken", one, at)


def _object(
    kind: ReferenceKind, source: ObjectSource, where: str, at: Environment
) -> Iterator[tuple[str, _File]]:
    name = source.name or source.secret_name
    found = at.contents.files(kind, name, optional=source.optional, where=where)
    if found is None:
        return
    if not source.items:
        yield from ((key, _File(content)) for key, content in found.items())
    for item in source.items:
        if item.key in found:
            yield item.path, _File(found[item.key], item.mode)
        elif not source.optional:
            raise Waiting(
                f"{where}: key {item.key!r} of {kind} {name!r} not found",
                reason=f"Mandatory{kind}KeyNotFound",
                not_done=True,
            )


def _downward(source: DownwardSource, where: str, at: Environment) -> Iterator[tuple[str, _File]]:
    for index, item in enumerate(source.items):
        with rejected(f"{where}.items[{index}]"):
            if item.field_ref is not None:
                downward.check_field(item.field_ref.field_path, volume=True)
                text = str(downward.field(item.field_ref.field_path, at.request, at.spec))
            elif item.resource_field_ref is not None:
                container = _container(item.resource_field_ref.container_name, at)
                text = downward.resource(item.resource_field_ref, container, at.least)
            else:
                raise Refused("neither fieldRef nor resourceFieldRef is set")
            yield item.path, _File(text.encode(), item.mode)


def _container(name: str, at: Environment) -> Container:
    for one in (*at.spec.containers, *at.spec.init_containers):
        if one.name == name:
            return one
    raise Refused(f"there is no container {name!r}")


def _token(source: TokenSource, where: str, one: Volume, at: Environment) -> tuple[str, _File]:
    key = token_key(
        volume=one.name,
        audience=source.audience,
        expiration_seconds=source.expiration_seconds,
    )
    return source.path, _File(at.contents.token(key, where=where))


def _check_sizes(files: dict[str, _File], where: str) -> None:
    with rejected(where):
        if len(files) > limits.FILE_COUNT:
            raise Refused(
                f"{len(files)} files are more than the {limits.FILE_COUNT} that ECI takes in a "
                "volume: choose keys by items, or use several volumes"
            )
        for path, file in files.items():
            if len(file.content) > limits.FILE:
                raise Refused(
                    f"file {path!r} has {len(file.content)} bytes, ECI takes {limits.FILE}: "
                    "split it, or put it into the image"
                )
        size = sum(len(file.content) for file in files.values())
        if size > limits.FILES:
            raise Refused(
                f"its files have {size} bytes, ECI takes {limits.FILES} in a volume: choose keys "
                "by items, or use several volumes"
            )


def _octal(mode: int | None) -> str:
    """Four octal digits, as ECI writes modes."""
    return f"{_MODE if mode is None else mode:04o}"
