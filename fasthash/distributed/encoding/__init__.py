"""Encoding a corpus with Ray Data: Parquet, pictures or webdataset shards in, packed codes in Parquet out.

The work is cut into blocks of rows, each of which becomes one part, written whole under a name that says the block.
Ray Data streams the blocks through a pool of actors with a model each. What is killed, a worker or the run, leaves
whole parts and nothing else; the same call encodes what is missing. Needs the extra ``ray``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fasthash._arguments import whole_number
from fasthash.distributed.encoding._asked import Asked, Options
from fasthash.distributed.encoding._encoded import Encoded, shards_of
from fasthash.distributed.encoding._run import run
from fasthash.features._packages import require
from fasthash.features._progress import Progress
from fasthash.models import HashModel

__all__ = ["Encoded", "encode", "shards_of"]
_MOST_SHARDS = 1 << 20


def encode(
    dataset: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Any,
    model: str | os.PathLike[str] | HashModel,
    *,
    out: str | os.PathLike[str],
    side: str = "image",
    kind: str | None = None,
    column: str | None = None,
    id_column: str | None = None,
    batch_size: int | None = None,
    concurrency: int | None = None,
    gpus: float | None = None,
    rows_per_file: int | None = None,
    damaged: str = "refuse",
    shards: int | None = None,
    overwrite: bool = False,
    setup: Callable[[], object] | None = None,
    progress: Progress = True,
) -> Encoded:
    """Encode one side of a corpus to packed codes, in workers on one machine or many.

    After a kill, Ctrl-C or an error the same call goes on: finished parts stay, nothing is encoded twice. Codes are
    those of ``model.encode_image`` or ``encode_text`` over all rows at once, to the bit, when ``rows_per_file`` is a
    multiple of 4096, no batch was made smaller and nothing was skipped; otherwise rounding may decide a sign.

    Args:
        dataset: Parquet files, webdataset shards (.tar) or pictures: a file, a folder, or several of them, where every
            worker can read them; or a ``ray.data.Dataset`` with a column of integer ids.
        model: the folder of a run, where every worker can read it, or a model, which goes through the object store.
        out: folder of the parts, where every worker can write; new, empty, or of the same call.
        side: "image" or "text"; one of them a call.
        kind: "parquet", "webdataset" or "pictures"; None: the first of them that is there.
        column: what to encode: a column of pictures (bytes, paths or both as Hugging Face writes them), of texts, or of
            features (lists of floats); of shards the suffix or the field of the .json. None: the one with a usual name.
        id_column: integers become the ids; strings are kept as ``key``. None: id, key or __key__ where there is one;
            "none": no column. Without integers ids are the row numbers over all files, sorted by path.
        batch_size: rows through the network at once (texts or pictures to an extractor). None: 4096 rows of features,
            64 pictures or texts, 512 to an extractor, fewer where the free memory is small. Halved on a GPU that runs
            out of memory.
        concurrency: actors; None: as many as the cluster has GPUs, or else CPUs.
        gpus: of an actor, may be a fraction; None: 1 where the cluster has GPUs, else 0.
        rows_per_file: of a part, the unit of resuming; None: 65,536 rows of features, 4,096 pictures or texts.
        damaged: rows that cannot be read (no picture, no text, features of another width or not finite) are an error
            that names the first ("refuse"), or are left out and named in the manifest ("skip").
        shards: also write the codes as a folder of so many shards, ``out/shards``; see `shards_of`.
        overwrite: begin anew, in place of another encoding in ``out``.
        setup: called in each worker before it loads the model, to make classes of your own known; its module
            must be where workers find it.
        progress: a callback (done, total), True for a bar in a terminal, or False.
    Returns:
        What was made. ``out`` has parts with ``id`` int64, ``code`` fixed_size_binary and maybe ``key`` string, and
        ``encode.json``, written last: a folder without it is not finished.
    Raises:
        ValueError, TypeError, FileNotFoundError, RuntimeError: one line.
        KeyboardInterrupt: after Ctrl-C; says how many rows are done.
    """
    options = Options(side, kind, column, id_column, batch_size, concurrency, gpus, rows_per_file, damaged)
    if shards is not None:
        whole_number(shards, 1, _MOST_SHARDS, "encode", "shards")
    require("ray", "ray[data]", "ray", "encode")
    require("pyarrow", "pyarrow", "ray", "encode")
    asked = Asked.of(dataset, model, options, Path(out), setup)
    return run(asked, Path(out), shards, overwrite, progress)
