"""What a process keeps of data sets' files between the runs of a sweep, and how it is dropped."""

from __future__ import annotations

from unsir_bench.data import folder_listing, hugging_face, picture_set


def look_again() -> None:
    """Drop all listings and hashes of contents, and what was wrong with images: the files may have changed."""
    for kept in (folder_listing.identities, folder_listing.listed, folder_listing.listed_tree, hugging_face.rows_of):
        kept.cache_clear()
    picture_set.CONTENTS.clear()
