"""Writes what this interpreter says about the lines of sample.py: `python3.X record.py > 3.X.json`."""
import ctypes
import json
import os
import sys

SAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample.py")
line_of = ctypes.pythonapi.PyCode_Addr2Line
line_of.argtypes = [ctypes.py_object, ctypes.c_int]


def codes(code):
    yield code
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield from codes(constant)


def line(code, address):
    found = line_of(code, address)
    return found if found > 0 else None


def describe(code):
    table = code.co_linetable if sys.version_info >= (3, 10) else code.co_lnotab
    lines = [line(code, address) for address in range(0, len(code.co_code), 2)]
    return {"name": code.co_name, "first_line": code.co_firstlineno, "table": table.hex(), "lines": lines}


with open(SAMPLE) as sample:
    module = compile(sample.read(), "sample.py", "exec")
print("[" + ",\n".join(json.dumps(describe(code)) for code in codes(module)) + "]")
