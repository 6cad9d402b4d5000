"""The embedded image set: reproducible, complete, and with the statistics that natural images have."""

import numpy as np

from datasets.images import read_image
from datasets.sample_images import dead_leaves, write_sample_images


def test_dead_leaves_have_the_spectrum_of_natural_images():
    """Amplitude falls about as 1/f (Field 1987); a cubic tail of radii gives it to dead leaves (Lee et al. 2001)."""
    slopes = []
    for seed in range(6):
        luma = dead_leaves(256, 256, np.random.default_rng(seed)).mean(axis=2)
        window = np.hanning(256)[:, None] * np.hanning(256)
        amplitude = np.abs(np.fft.fft2((luma - luma.mean()) * window))
        frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256))
        middle = (frequency > 0.02) & (frequency < 0.3)
        slopes.append(np.polyfit(np.log(frequency[middle]), np.log(amplitude[middle]), 1)[0])
    assert -1.7 < np.mean(slopes) < -0.8


def test_the_set_is_reproducible_and_written_once(tmp_path):
    paths = write_sample_images(tmp_path, n_dead_leaves=3)
    assert len(paths) == 5 and len(set(paths)) == 5
    first = {path: path.read_bytes() for path in paths}
    assert {read_image(path).shape for path in paths} == {(427, 640, 3), (288, 384, 3), (384, 288, 3)}
    stamps = {path: path.stat().st_mtime_ns for path in paths}
    assert write_sample_images(tmp_path, n_dead_leaves=3) == paths
    assert {path: path.stat().st_mtime_ns for path in paths} == stamps
    again = write_sample_images(tmp_path / "again", n_dead_leaves=3)
    assert [path.read_bytes() for path in again] == list(first.values())
