"""Shallow methods: closed forms and alternating exact steps, float64 on the CPU, one file per paper."""

# importing a method's file registers it
from fasthash.methods.shallow import cca, cca_itq, cmfh, cvh, dch, imh, lssh, scm, seph

__all__ = ["cca", "cca_itq", "cmfh", "cvh", "dch", "imh", "lssh", "scm", "seph"]
