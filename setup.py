from setuptools import setup

setup(cffi_modules=["ffi/build.py:ffibuilder"], options={"bdist_wheel": {"py_limited_api": "cp311"}})
