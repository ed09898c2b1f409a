"""Any data set in one layout on disk, which every command takes: docs/prepared_data.md."""

from fasthash.data.prepared._record import Record, Skipped
from fasthash.data.prepared.folder import OPTIONS, Folder, is_prepared
from fasthash.data.prepared.writing import check_place, write

__all__ = ["OPTIONS", "Folder", "Record", "Skipped", "check_place", "is_prepared", "write"]
