"""A shared library for 64-bit ARM, called on any processor through Unicorn's emulation.

The library sees this process's memory at its own addresses, so that pointers mean the same on both
sides. Of the C library it gets what the engine calls on one thread.
"""

import ctypes
import mmap
import struct
from pathlib import Path

from unicorn import (
    UC_ARCH_ARM64,
    UC_HOOK_INTR,
    UC_HOOK_MEM_UNMAPPED,
    UC_MODE_ARM,
    UC_PROT_ALL,
    Uc,
    UcError,
)
from unicorn.arm64_const import (
    UC_ARM64_REG_CPACR_EL1,
    UC_ARM64_REG_LR,
    UC_ARM64_REG_PC,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_X0,
    UC_CPU_ARM64_MAX,
)

_CODE, _STACK, _STUBS = 0x10_0000_0000, 0x20_0000_0000, 0x30_0000_0000
_GUEST = 0x40_0000_0000
_STACK_SIZE, _GRANULE = 1 << 20, 1 << 21
_HEAP_SIZE = 1 << 28
_SVC, _RET = 0xD4000001, 0xD65F03C0
_DOT_PRODUCTS = 1 << 20
_ABSOLUTE, _GLOBAL, _JUMP, _RELATIVE = 257, 1025, 1026, 1027


class Library:
    """Functions of a shared library, as ``ctypes.CDLL`` offers them.

    Args:
        path: An ELF file for 64-bit ARM.
    """

    def __init__(self, path: Path) -> None:
        self._uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM, UC_CPU_ARM64_MAX)
        self._uc.reg_write(UC_ARM64_REG_CPACR_EL1, 3 << 20)
        self._uc.mem_map(_STACK, _STACK_SIZE)
        self._uc.mem_map(_STUBS, 1 << 16)
        self._heap = mmap.mmap(-1, _HEAP_SIZE)
        self._free = ctypes.addressof(ctypes.c_char.from_buffer(self._heap))
        self._imports: list[str] = []
        self._error: Exception | None = None
        self._uc.hook_add(UC_HOOK_MEM_UNMAPPED, self._see_host)
        self._uc.hook_add(UC_HOOK_INTR, self._call_host)
        self._symbols = self._load(path.read_bytes())

    def __getattr__(self, name: str):
        def call(*given):
            return self._call(name, [_word(value) for value in given])

        return call

    def _call(self, name: str, words: list[int]) -> int:
        for index, word in enumerate(words):
            self._uc.reg_write(UC_ARM64_REG_X0 + index, word)
        self._uc.reg_write(UC_ARM64_REG_SP, _STACK + _STACK_SIZE - 64)
        self._uc.reg_write(UC_ARM64_REG_LR, _STUBS)
        try:
            self._uc.emu_start(self._symbols[name], _STUBS)
        except UcError as error:
            at = self._uc.reg_read(UC_ARM64_REG_PC)
            raise RuntimeError(f"{name} stopped at {at:#x}: {error}") from self._error
        return self._uc.reg_read(UC_ARM64_REG_X0)

    def _load(self, data: bytes) -> dict[str, int]:
        """Place segments, bind symbols and return the addresses of those that are exported."""
        start, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
        headers = [struct.unpack_from("<IIQQQQQQ", data, start + 56 * i) for i in range(count)]
        end = max(h[3] + h[6] for h in headers if h[0] == 1)
        self._uc.mem_map(_CODE, (end + 0xFFFF) // 0x10000 * 0x10000)
        for kind, _, offset, address, _, size, _, _ in headers:
            if kind == 1:
                self._uc.mem_write(_CODE + address, data[offset : offset + size])
        table = next(h for h in headers if h[0] == 2)
        tags = dict(struct.iter_unpack("<QQ", data[table[2] : table[2] + table[5]]))
        read = self._uc.mem_read
        names = bytes(read(_CODE + tags[5], tags[10]))
        addresses: list[int] = []
        exported = {}
        count = struct.unpack("<I", read(_CODE + tags[4] + 4, 4))[0]
        symbols = struct.iter_unpack("<IBBHQQ", read(_CODE + tags[6], 24 * count))
        for name, _, _, section, value, _ in symbols:
            text = names[name : names.index(0, name)].decode()
            addresses.append(_CODE + value if section else self._stub(text))
            exported[text] = addresses[-1]
        for where, size in ((tags[7], tags[8]), (tags[23], tags[2])):
            for place, info, add in struct.iter_unpack("<QQq", read(_CODE + where, size)):
                kind, symbol = info & 0xFFFFFFFF, info >> 32
                if kind not in (_ABSOLUTE, _GLOBAL, _JUMP, _RELATIVE):
                    continue
                value = _CODE + add if kind == _RELATIVE else addresses[symbol] + add
                self._uc.mem_write(_CODE + place, struct.pack("<Q", value))
        return exported

    def _stub(self, name: str) -> int:
        """Return where a function of the C library is called."""
        self._imports.append(name)
        place = _STUBS + 8 * len(self._imports)
        self._uc.mem_write(place, struct.pack("<II", _SVC, _RET))
        return place

    def _write(self, address: int, data: bytes) -> None:
        if address < _GUEST:
            self._uc.mem_write(address, data)
        else:
            ctypes.memmove(address, data, len(data))

    def _see_host(self, uc, _access, address, _size, _value, _data) -> bool:
        """Let the library see the memory of this process around an address."""
        if address < _GRANULE:
            return False
        start = address // _GRANULE * _GRANULE
        uc.mem_map_ptr(start, _GRANULE, UC_PROT_ALL, ctypes.c_void_p(start))
        return True

    def _call_host(self, uc, _number, _data) -> None:
        """Do what the C library would."""
        name = self._imports[(uc.reg_read(UC_ARM64_REG_PC) - _STUBS) // 8 - 1]
        a, b, c = (uc.reg_read(UC_ARM64_REG_X0 + i) for i in range(3))
        if name in ("malloc", "aligned_alloc"):
            result = (self._free + 63) // 64 * 64
            self._free = result + (a if name == "malloc" else b)
        elif name == "free":
            result = 0
        elif name in ("memcpy", "memmove"):
            self._write(a, bytes(uc.mem_read(b, c)) if b < _GUEST else ctypes.string_at(b, c))
            result = a
        elif name == "memset":
            self._write(a, bytes([b & 255]) * c)
            result = a
        elif name == "getauxval":
            result = _DOT_PRODUCTS
        else:
            self._error = NotImplementedError(f"the library calls {name}")
            uc.emu_stop()
            return
        uc.reg_write(UC_ARM64_REG_X0, result)


def _word(value) -> int:
    """Return an argument as the number in its register."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    return ctypes.addressof(value._obj)
