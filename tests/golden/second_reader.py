# SPDX-License-Identifier: Apache-2.0
"""second_reader.py MODEL.weir [FOLDER]

A reader of the weir file that was written from weir-file(5) alone.  It checks
every rule of that page, the checksums among them, extracts all tensors and
compares them, bit for bit, with the Hugging Face folder that was packed; what
should be int8 it quantises itself.  Of provenance.json it does not check the
xxh128 of files of up to 240 bytes, nor which weir packed it.  Prints one line
`good: ...', or the first difference and exits with 1.  Without a folder, as for
a model of weir synth, it looks at the file alone.
"""
import array
import json
import os
import re
import struct
import subprocess
import sys
from collections import namedtuple

sys.dont_write_bytecode = True
from xxh3 import xxh3_64, xxh3_128  # noqa: E402

PAGE = 4096
TILE, LONG_ROW = 262144, 16777216
NONE = 0xFFFFFFFF
F32, BF16, F16, INT8 = range(4)
SIZE = {F32: 4, BF16: 2, F16: 2, INT8: 1}
TYPES = {"F32": F32, "BF16": BF16, "F16": F16}
RAW, ZSTD, PLANES = range(3)
FILES = ("config.json", "generation_config.json", "tokenizer.json",
         "tokenizer.model", "tokenizer_config.json", "chat_template.jinja",
         "special_tokens_map.json")
MATRICES = "gate_proj", "up_proj", "down_proj"

Blob = namedtuple("Blob", "name offset length xxh3")
Unit = namedtuple("Unit", "name first count")
Tile = namedtuple("Tile", "offset xxh3 stored file codec zero")
Tensor = namedtuple("Tensor", "name type ndim zero parts blocks tile_rows rows"
                    " columns d0 d1 d2 d3 first scales element")


class Bad(Exception):
    pass


def need(condition, *words):
    if not condition:
        raise Bad(" ".join(str(word) for word in words))


# The structure of the file.


class Weir:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = data = file.read()
        need(len(data) >= 2 * PAGE, "the file is too short")
        need(len(data) % PAGE == 0, "the length is no multiple of the page")
        (magic, version, flags, length, index, index_length, index_xxh3, names,
         tiles, files, blobs, units, tensors) = struct.unpack_from(
             "<8sII6Q4I", data)
        need(magic.hex() == "89574549520d0a1a", "magic", magic)
        need((version, flags >> 1) == (1, 0) and 1 <= files <= 16,
             "version, flags or files")
        self.aliased = flags == 1
        need(xxh3_64(data[:4088]) == struct.unpack_from("<Q", data, 4088)[0],
             "XXH3 of the header")
        need(not any(data[80:4088]), "the header has bytes that are not zero")
        need(length == len(data), "length in the header", length)
        need(index == PAGE, "offset of the index", index)
        need(index + index_length <= length, "length of the index")
        need(xxh3_64(data[index:index + index_length]) == index_xxh3,
             "XXH3 of the index")
        self.at, self.index_end = index, index + index_length
        self.names = data[self.index_end - names:self.index_end]
        parts = self.section(files, "<IIQ", lambda *fields: fields)
        self.blobs = self.section(blobs, "<IIQQQ", Blob, True)
        self.units = self.section(units, "<IIII", Unit, True)
        self.tensors = self.section(tensors, "<IIBBHIIIQQ4QQII", Tensor, True)
        first_record = self.at
        self.tiles = self.section(tiles, "<QQIHBB", Tile)
        binding = xxh3_64(data[first_record:self.at])
        need(self.at + names == self.index_end, "the sections do not add up")
        need(parts[0] == (0, 0, length), "file record", parts[0])
        self.parts = [data] + [
            self.read_part(os.path.dirname(os.path.realpath(path)), number,
                           part, files, binding)
            for number, part in enumerate(parts) if number]
        self.check_units_and_names()
        self.check_tensors()
        self.check_places()

    def read_part(self, home, number, part, files, binding):
        at, size, length = part
        path = self.names[at:at + size + 1]
        need(1 <= size <= 4095 and len(path) == size + 1 and path[-1] == 0 and
             path[-2:] != b"/\0", "path of part", number)
        need(all(byte >= 32 and byte != 127 for byte in path[:-1]), path)
        path = os.fsdecode(path[:-1])
        names = os.environ.get("WEIR_PARTS", "").split(":") + [home]
        tries = [os.path.join(folder, os.path.basename(path))
                 for folder in names if folder] + [os.path.join(home, path)]
        with open(next(filter(os.path.exists, tries), path), "rb") as file:
            data = file.read()
        need(len(data) == length and length % PAGE == 0 < length,
             "length of", path)
        need(struct.unpack_from("<8sIIQQI", data) ==
             (bytes.fromhex("89575052540d0a1a"), 1, number, length, binding,
              files), "first page of", path)
        need(not any(data[36:4088]), "its zeros", path)
        need(xxh3_64(data[:4088]) == struct.unpack_from("<Q", data, 4088)[0],
             "XXH3 of the first page of", path)
        return data

    def section(self, count, form, make, named=False):
        records, start = [], self.at
        self.at += count * struct.calcsize(form)
        need(self.at <= self.index_end, "a section leaves the index")
        for fields in struct.iter_unpack(form, self.data[start:self.at]):
            if named:
                fields = (self.name(*fields[:2]),) + fields[2:]
            records.append(make(*fields))
        return records

    def name(self, at, length):
        name = self.names[at:at + length + 1]
        need(1 <= length <= 255 and len(name) == length + 1 and
             name[-1] == 0, "name at", at)
        need(all(33 <= byte <= 126 for byte in name[:-1]), "name", name)
        return name[:-1].decode("ascii")

    def check_units_and_names(self):
        at = 0
        for unit in self.units:
            need(unit.first == at and unit.count >= 1, "unit", unit)
            at += unit.count
        need(at == len(self.tensors), "units do not hold all tensors")
        for records in self.blobs, self.units, self.tensors:
            names = {record.name for record in records}
            need(len(names) == len(records), "two records have one name")

    def check_tensors(self):
        tile = 0
        self.shapes = []  # of each tile: its bytes unpacked, its tensor
        for t in self.tensors:
            need(t.type in SIZE and 1 <= t.ndim <= 4 and t.zero == 0,
                 "type, dimensions or zero of", t)
            product, dims = 1, (t.d0, t.d1, t.d2, t.d3)
            for size in dims[:t.ndim]:
                product *= size
            need(not any(dims[t.ndim:]), "unused dimension", t)
            need(0 < product == t.rows * t.columns <= 1 << 40, "product", t)
            need(t.parts in (1, 2, 8, 16) and t.blocks in (1, 8), "cut", t)
            need(t.rows % t.parts == 0 == t.columns % t.blocks, "cut", t)
            need(1 <= t.tile_rows <= t.rows // t.parts, "rows of a tile", t)
            need(t.first == tile, "first tile", t)
            for _, rows, _ in cut(t):
                unpacked = rows * stride(t)
                need(unpacked <= (LONG_ROW if rows == 1 else TILE),
                     "a tile is too large", t)
                self.shapes.append((unpacked, t))
            tile = len(self.shapes)
            if t.type == INT8:
                need(t.scales < len(self.tensors), "has no scales", t)
                scales = self.tensors[t.scales]
                need(scales.type == F32 and scales.rows == 1 and
                     t.element + t.rows <= scales.columns, "scales of", t)
            else:
                need(t.scales == NONE and t.element == 0, "has scales", t)
        need(tile == len(self.tiles), "number of tiles")

    def check_places(self):
        end = [self.index_end] + [PAGE] * (len(self.parts) - 1)
        for blob in self.blobs:
            self.check_place(end, 0, blob.offset, blob.length, blob)
        scales = {t.scales for t in self.tensors}
        scales = {self.tensors[i].name for i in scales if i != NONE}
        owners, owner_of = {}, []
        for i, (tile, (unpacked, tensor)) in enumerate(zip(self.tiles,
                                                           self.shapes)):
            need(tile.file < len(self.parts), "part of", tile)
            place = tile.file, tile.offset
            if i == tensor.first and tile.offset >= end[tile.file]:
                owners[place] = owner = tensor
            elif i == tensor.first:
                need(self.aliased, tile, "overlaps what is before it")
                owner = owners.get(place)
                need(owner and owner[1:2] + owner[4:9] ==
                     tensor[1:2] + tensor[4:9], tensor, "is cut otherwise")
            if i == tensor.first:
                owner_of.append(self.tensors.index(owner))
            if owner is tensor:
                self.check_place(end, tile.file, tile.offset, tile.stored,
                                 tile)
            else:
                need(tile == self.tiles[owner.first + i - tensor.first],
                     "shares not all tiles:", tensor)
            need(tile.zero == 0, "zero of", tile)
            need(tile.codec in (RAW, ZSTD, PLANES), "codec of", tile)
            if tile.codec == RAW:
                need(tile.stored == unpacked, "length of", tile)
            else:  # the rule for writers, which is the tighter one
                need(tile.stored * 100 <= unpacked * 95, "saves little", tile)
                need(tensor.name not in scales, "scales are not raw", tile)
            need(tile.codec != PLANES or tensor.type == BF16, "planes", tile)
        for part, data in enumerate(self.parts):
            self.check_place(end, part, len(data), 0, "the end")
        self.check_spread()
        for unit in self.units:
            need(len({i - owner_of[i] for i in range(
                unit.first, unit.first + unit.count)}) == 1,
                unit, "shares tiles in part")

    def check_spread(self):
        """Parts in turn, as a writer fills them, of tiles that are owned."""
        at, seen = 0, set()
        run = int(os.environ.get("WEIR_STRIPE_BYTES", 1048576))
        for unit in self.units:
            filled = None
            for t in self.tensors[unit.first:unit.first + unit.count]:
                tiles = self.tiles[t.first:t.first + len(list(cut(t)))]
                if len(self.parts) == 1 or tiles[0][:4:3] in seen:
                    continue
                for i in range(0, len(tiles), t.blocks):
                    if filled is None or filled >= run:
                        filled, at = 0, at + 1
                    for tile in tiles[i:i + t.blocks]:
                        need(tile.file == (at - 1) % len(self.parts),
                             tile, "is not where its turn is")
                        seen.add(tile[:4:3])
                        filled += -(-tile.stored // PAGE) * PAGE

    def check_place(self, end, part, offset, length, what):
        data = self.parts[part]
        need(offset % PAGE == 0, what, "begins in a page")
        need(end[part] <= offset, what, "overlaps what is before it")
        need(offset + length <= len(data), what, "leaves the file")
        need(not any(data[end[part]:offset]), "not zero before", what)
        stored = data[offset:offset + length]
        need(isinstance(what, str) or xxh3_64(stored) == what.xxh3,
             "XXH3 of", what)
        end[part] = offset + length

    def extract(self, unit):
        """All tensors of the unit: one zstd process does all its frames."""
        frames, sizes, tensors = [], [], {}
        span = self.tensors[unit.first:unit.first + unit.count]
        tiles = [(i, self.tiles[i]) for t in span
                 for i in range(t.first, t.first + len(list(cut(t))))]
        for i, tile in tiles:
            if tile.codec != RAW:
                size = self.shapes[i][0] >> (tile.codec == PLANES)
                at = tile.offset + (size if tile.codec == PLANES else 0)
                frame = self.parts[tile.file][at:tile.offset + tile.stored]
                check_frame(frame, size, tile)
                frames.append(frame)
                sizes.append(size)
        plain = unzstd(b"".join(frames), sum(sizes), unit)
        at, unpacked = 0, {}
        for i, tile in tiles:
            size = self.shapes[i][0]
            stored = self.parts[tile.file][tile.offset:
                                           tile.offset + tile.stored]
            if tile.codec == PLANES:
                size //= 2
                mixed = bytearray(2 * size)
                mixed[0::2] = stored[:size]
                mixed[1::2] = plain[at:at + size]
                stored = bytes(mixed)
            elif tile.codec == ZSTD:
                stored = plain[at:at + size]
            at += 0 if tile.codec == RAW else size
            unpacked[i] = stored
        for t in span:
            tensors[t.name] = join(t, unpacked)
        return tensors


def stride(t):
    return -(-(t.columns // t.blocks * SIZE[t.type]) // 64) * 64


def cut(t):
    """First row, number of rows and first column of each tile in order."""
    part, block = t.rows // t.parts, t.columns // t.blocks
    for first in range(0, t.rows, part):
        for row in range(0, part, t.tile_rows):
            for column in range(0, t.columns, block):
                yield first + row, min(t.tile_rows, part - row), column


def join(t, unpacked):
    size, row_bytes = SIZE[t.type], t.columns * SIZE[t.type]
    length, step = t.columns // t.blocks * size, stride(t)
    matrix = bytearray(t.rows * row_bytes)
    for i, (row, rows, column) in enumerate(cut(t), t.first):
        for r in range(rows):
            line = unpacked[i][r * step:(r + 1) * step]
            need(not any(line[length:]), "padding is not zero:", t)
            at = (row + r) * row_bytes + column * size
            matrix[at:at + length] = line[:length]
    return bytes(matrix)


def check_frame(frame, size, tile):
    """It is one frame (RFC 8878), with the right size where it has one."""
    need(frame[:4].hex() == "28b52ffd", "no zstd frame:", tile)
    flags = frame[4]
    single, checksum = flags >> 5 & 1, flags >> 2 & 1
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    width = (single, 2, 4, 8)[flags >> 6]
    content = int.from_bytes(frame[at:at + width], "little")
    content += 256 if width == 2 else 0
    need(width == 0 or content == size, "frame of", content, "bytes:", tile)
    at, last = at + width, 0
    while not last:
        need(at + 3 <= len(frame), "frame is cut short:", tile)
        block = int.from_bytes(frame[at:at + 3], "little")
        last = block & 1
        at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
    need(at + 4 * checksum == len(frame), "not one frame:", tile)


def unzstd(frames, size, unit):
    if not frames:
        return b""
    done = subprocess.run(["zstd", "-dcq"], input=frames, check=False,
                          stdout=subprocess.PIPE)
    need(done.returncode == 0, "zstd refuses a frame of", unit)
    need(len(done.stdout) == size, "frames decode to", len(done.stdout),
         "bytes, not", size, "in", unit)
    return done.stdout


# The folder.


def read_safetensors(path, tensors):
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header, data = json.loads(file.read(length)), file.read()
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = (TYPES[entry["dtype"]], entry["shape"],
                         data[begin:end])


def split_fused(tensors):
    """Fused experts, [E, 2I, H] and [E, H, I], as tensors of each expert."""
    for name in list(tensors):
        match = re.fullmatch(r"(.*\.experts)\.(gate_up|down)_proj", name)
        if not match:
            continue
        kind, (experts, rows, columns), data = tensors.pop(name)
        halves = MATRICES[:2] if match[2] == "gate_up" else MATRICES[2:]
        rows //= len(halves)
        size = rows * columns * SIZE[kind]
        for i in range(experts * len(halves)):
            part = "%s.%d.%s.weight" % (match[1], i // len(halves),
                                        halves[i % len(halves)])
            tensors[part] = (kind, [rows, columns],
                             data[i * size:(i + 1) * size])


def read_folder(folder):
    """The weights, and the names of all files that the weights come from."""
    tensors, names = {}, ["model.safetensors"]
    index = "model.safetensors.index.json"
    if os.path.exists(os.path.join(folder, index)):
        with open(os.path.join(folder, index), "rb") as file:
            names = sorted(set(json.load(file)["weight_map"].values()))
    for name in names:
        read_safetensors(os.path.join(folder, name), tensors)
    split_fused(tensors)
    return tensors, names


# What the page says of a Jamba model.


def check_blobs(weir, folder, weights):
    blobs = {blob.name: weir.data[blob.offset:blob.offset + blob.length]
             for blob in weir.blobs}
    for name in FILES:
        path, content = os.path.join(folder, name), None
        if os.path.exists(path):
            with open(path, "rb") as file:
                content = file.read()
        need(blobs.get(name) == content, "blob", name, "differs")
    need(set(blobs) <= {*FILES, "provenance.json"}, "blobs", *blobs)
    provenance = json.loads(blobs["provenance.json"])
    need(set(provenance) == {"weir", "quant", "dense_mlp", "codec", "sources"},
         "keys of provenance.json")
    need(provenance["quant"] in ("experts-int8", "none"), "quant")
    need(provenance["dense_mlp"] in ("int8", "kept"), "dense_mlp")
    need(provenance["codec"] in ("auto", "raw", "zstd"), "codec")
    for source in provenance["sources"]:
        with open(os.path.join(folder, source["name"]), "rb") as file:
            content = file.read()
        need(source["bytes"] == len(content), "bytes of", source)
        need(len(content) <= 240 or
             "%032x" % xxh3_128(content) == source["xxh128"],
             "xxh128 of", source)
    need(sorted(source["name"] for source in provenance["sources"]) ==
         sorted({*blobs, *weights} - {"provenance.json"}), "sources")
    return provenance


def unit_of(name, folder):
    match = re.fullmatch(r"model\.layers\.(\d+)\.(\w+)\.(.*)", name)
    if not match:
        return "embed" if name == "model.embed_tokens.weight" else "head"
    layer = "layers.%s." % match[1]
    if match[2] not in ("pre_ff_layernorm", "feed_forward"):
        return layer + "mixer"
    expert = re.match(r"experts\.\d+", match[3])
    router = "model.%sfeed_forward.router.weight" % layer in folder
    return layer + (expert[0] if expert else "router" if router else "mlp")


def check_order(weir, folder):
    order = {"embed": -1, "mixer": 0, "mlp": 1, "router": 1, "experts": 2}

    def key(name):
        words = name.split(".")
        numbers = [int(word) for word in words if word.isdigit()]
        words = [word for word in words if not word.isdigit()]
        layer = numbers[:1] or [-1 if name == "embed" else 1 << 32]
        return layer, order.get(words[-1], 9), numbers[1:]

    names = [unit.name for unit in weir.units]
    need(names == sorted({unit_of(t.name, folder) for t in weir.tensors},
                         key=key), "order of the units:", *names)
    firsts = {"mixer": "input_layernorm", "mlp": "pre_ff_layernorm",
              "router": "pre_ff_layernorm", "head": "final_layernorm"}
    for unit in weir.units:
        span = weir.tensors[unit.first:unit.first + unit.count]
        for t in span:
            need(unit_of(t.name, folder) == unit.name, t, "is in", unit)
        kind = unit.name.split(".")[-1]
        need(kind not in firsts or firsts[kind] in span[0].name,
             "norm of", unit)


def check_cut(t):
    """The cuts that a writer of version 1 makes."""
    kind = t.name.replace(".weight", "").split(".")[-1]
    one_row = t.ndim == 1 or kind in ("A_log", "conv1d")
    parts = blocks = 1
    if one_row:
        need((t.rows, t.tile_rows) == (1, 1), "not one row:", t)
    elif kind in ("down_proj", "out_proj", "o_proj", "x_proj"):
        blocks = 1 if t.columns % 8 else 8
    elif kind == "in_proj":
        parts = 2 if t.rows % 16 else 16
    elif kind != "router":
        parts = 1 if t.rows % 8 else 8
    need((t.parts, t.blocks) == (parts, blocks), "cut of", t)
    need(one_row or t.rows == t.d0, "rows of", t)
    most = max(1, min(t.rows // parts, TILE // stride(t)))
    need(t.tile_rows == most, "rows of a tile", t)


# Weights and their quantisation.


def floats(kind, data):
    if kind == BF16:
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[0::2], data[1::2]
        data, kind = bytes(wide), F32
    letter = "f" if kind == F32 else "e"
    return struct.unpack("<%d%s" % (len(data) // SIZE[kind], letter), data)


def to_f32(values):  # a double rounded to f32, ties to even
    form = "<%df" % len(values)
    return struct.unpack(form, struct.pack(form, *values))


def quantise(kind, rows, data):
    """The scales, as bytes of f32, and the int8 elements of a matrix."""
    values = floats(kind, data)
    width, scales, elements = len(values) // rows, [], array.array("b")
    for start in range(0, len(values), width):
        row = values[start:start + width]
        largest = max(max(row), -min(row))
        scale = to_f32([largest / 127])[0] or 1.0
        scales.append(scale)
        elements.extend(max(-127, min(127, round(x)))
                        for x in to_f32([x / scale for x in row]))
    return struct.pack("<%df" % rows, *scales), elements.tobytes()


def compare(t, tensors, numbers, folder, provenance):
    if t.name.endswith(".scales"):
        owner = t.name[:-len("scales")]
        need(numbers[owner + "gate_proj.weight"][1].scales ==
             numbers[t.name][0], "no matrix uses", t)
        return
    need(t.name in folder, "the folder has no", t.name)
    kind, shape, data = folder[t.name]
    need((t.d0, t.d1, t.d2, t.d3)[:t.ndim] == tuple(shape), "shape of", t)
    matrix = "feed_forward" in t.name and "router" not in t.name
    dense = ".experts." not in t.name
    if matrix and (provenance["dense_mlp"] == "int8" if dense else
                   provenance["quant"] == "experts-int8"):
        need(t.type == INT8, "is not int8:", t)
        owner, name = re.fullmatch(r"(.*\.)(\w+)\.weight", t.name).groups()
        scales = owner + "scales"
        before = MATRICES[:MATRICES.index(name)]
        need(t.scales == numbers[scales][0] < numbers[t.name][0] and t.element
             == sum(numbers[owner + m + ".weight"][1].rows for m in before),
             "scales of", t)
        wanted, data = quantise(kind, t.rows, data)
        at = 4 * t.element
        need(tensors[scales][at:at + 4 * t.rows] == wanted, "scales of", t)
        need(128 not in data, "-128 in", t)
    else:
        need(t.type == kind, "element type of", t)
    if tensors[t.name] != data:
        at = next(i for i, (a, b) in enumerate(zip(tensors[t.name], data))
                  if a != b)
        raise Bad("byte %d of %s differs" % (at, t.name))


def main(path, source=None):
    weir = Weir(path)
    if source is None:
        for unit in weir.units:
            weir.extract(unit)
        print("good: %d tensors" % len(weir.tensors))
        return
    folder, weights = read_folder(source)
    provenance = check_blobs(weir, source, weights)
    check_order(weir, folder)
    numbers = {t.name: (i, t) for i, t in enumerate(weir.tensors)}
    missing = set(folder) - set(numbers)
    need(not missing, "the file has no", *sorted(missing)[:1])
    for unit in weir.units:
        tensors = weir.extract(unit)
        for t in weir.tensors[unit.first:unit.first + unit.count]:
            check_cut(t)
            compare(t, tensors, numbers, folder, provenance)
    print("good: %d tensors, %d tiles" % (len(weir.tensors), len(weir.tiles)))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: second_reader.py MODEL.weir [FOLDER]")
    try:
        main(*sys.argv[1:])
    except Bad as difference:
        print("bad:", difference)
        sys.exit(1)
