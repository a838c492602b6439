"""The experiment on faces: UNSIR in proportion to a person's photos."""

import unsir_bench
from unsir_bench.unlearning.unsir import Unsir


def method_of(*words: str) -> Unsir:
    method = unsir_bench.compose([*words, "dataset.root=x", "method=unsir"]).method
    assert isinstance(method, Unsir)
    return method


def test_a_person_has_about_as_many_noise_samples_as_photos() -> None:
    """Published: 256 images x 20 copies beside the 5,000 images of a class, and a fifth of these to repair on."""
    method = method_of("experiment=faces")
    assert (method.noise.batch_size * method.noise.copies, method.retain_share) == (16, 0.2)
    assert method.impair.batch_size == method.repair.batch_size == 16


def test_other_folders_keep_the_published_numbers() -> None:
    method = method_of("dataset=image_folder")
    assert (method.noise.copies, method.retain_share) == (20, None)
