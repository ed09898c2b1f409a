"""What is wrong with gathered data: `examine` counts and names it, `apply` refuses it or leaves it out, as is asked."""

from fasthash.data.problems._apply import Cleaned, Treated, apply
from fasthash.data.problems._examine import examine
from fasthash.data.problems._kinds import Found, Problems, kinds, resolve
from fasthash.data.problems._rows import take

__all__ = ["Cleaned", "Found", "Problems", "Treated", "apply", "examine", "kinds", "resolve", "take"]
