from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RSA: _ClassVar[KeyKind]
    ED25519: _ClassVar[KeyKind]
    SECP256K1: _ClassVar[KeyKind]
    ECDSA: _ClassVar[KeyKind]
RSA: KeyKind
ED25519: KeyKind
SECP256K1: KeyKind
ECDSA: KeyKind

class Key(_message.Message):
    __slots__ = ("kind", "data")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    kind: KeyKind
    data: bytes
    def __init__(self, kind: _Optional[_Union[KeyKind, str]] = ..., data: _Optional[bytes] = ...) -> None: ...
