"""The methods that UNSIR is compared with, one file each."""
