"""st.py -- writes safetensors files with the standard library and numpy only.

A file is: u64 little-endian length of the header, the header (JSON, padded with blanks to a multiple of 8), the
data.  Tensors stand in order of falling element size and then by name, so that each is aligned and the
same values always give the same bytes.
"""
import json
import struct

import numpy as np

DTYPES = {
    np.dtype("float64"): "F64", np.dtype("int64"): "I64",
    np.dtype("float32"): "F32", np.dtype("int32"): "I32",
    np.dtype("uint8"): "U8",
}


def save(path, tensors, metadata):
    """tensors: name -> numpy array or torch tensor; metadata: name -> string."""
    arrays = {}
    for name, value in tensors.items():
        value = value.detach().numpy() if hasattr(value, "detach") else value
        value = np.asarray(value, order="C")    # unlike ascontiguousarray, leaves a scalar a scalar
        if value.dtype not in DTYPES:
            raise TypeError(f"{name}: {value.dtype} is not one of {[str(d) for d in DTYPES]}")
        arrays[name] = value

    names = sorted(arrays, key=lambda n: (-arrays[n].itemsize, n))
    header, offset = {"__metadata__": {k: str(v) for k, v in sorted(metadata.items())}}, 0
    for name in names:
        a = arrays[name]
        header[name] = {"dtype": DTYPES[a.dtype], "shape": list(a.shape),
                        "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes

    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)))
        f.write(text)
        for name in names:
            a = arrays[name]
            f.write(a.astype(a.dtype.newbyteorder("<"), copy=False).tobytes())


def load(path):
    """Returns (tensors, metadata); the inverse of save."""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + n]), data[8 + n:]
    metadata = header.pop("__metadata__", {})
    types = {v: k for k, v in DTYPES.items()}
    return {name: np.frombuffer(body[h["data_offsets"][0]:h["data_offsets"][1]],
                                types[h["dtype"]].newbyteorder("<")).reshape(h["shape"])
            for name, h in header.items()}, metadata
