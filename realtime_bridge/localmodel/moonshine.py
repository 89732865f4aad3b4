"""Speech to text by Moonshine tiny-en, run by onnxruntime on one thread.

The weights lie in the `moonshine-voice` wheel (the `[local]` extra pins the last one that carries them). That package
is located, never imported: importing it loads PortAudio and a library of its own.

Moonshine invents words on silence, noise and music: give it only what a `Vad` has found to be speech.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.parts import Samples

if TYPE_CHECKING:
    import onnxruntime

SAMPLE_RATE = 16_000

_START_TOKEN, _END_TOKEN = 1, 2
_LAYERS, _HEADS, _HEAD_WIDTH = 6, 8, 36
_INPUT_SAMPLES_MIN = SAMPLE_RATE  # below a second the model guesses
_SILENCE_SAMPLES = SAMPLE_RATE // 2  # put after the speech: without it there are a seventh more wrong words
_WINDOW_SAMPLES_MAX = 28 * SAMPLE_RATE  # the model knows clips of up to half a minute
_CUT_SEARCH_SAMPLES = 8 * SAMPLE_RATE  # longer speech is cut at the quietest spot this far before the limit
_QUIET_SAMPLES = SAMPLE_RATE // 5
# The reference implementation allows 6.5 tokens a second; a few more let a short, quick answer finish.
_TOKENS_PER_SECOND_MAX, _TOKENS_SPARE = 6.5, 4
# A phrase of so many tokens, so many times in a row, is the decoder going round in circles. The shorter the phrase, the
# more often it may be meant ("no, no, no", "five five five five").
_CIRCLES: dict[int, int] = {1: 8, 2: 6, 3: 5, **dict.fromkeys(range(4, 17), 4)}


class MoonshineRecognizer:
    """A `Recognizer`. Loads 44 MB of weights (some 0.3 s, 170 MB resident): make one per process."""

    def __init__(self) -> None:
        """Raises `MisuseError` when an optional package is missing."""
        folder = _installed_weights()
        self._encoder = _session(folder / "encoder_model.ort")
        self._decoder = _session(folder / "decoder_model_merged.ort")
        self._pieces = _read_vocabulary(folder / "tokenizer.bin")
        self._cache_names = [output.name for output in self._decoder.get_outputs()[1:]]  # the first is the logits

    def transcribe(self, speech: Samples) -> str:
        """`speech`: one utterance at 16 kHz, of any length. Returns "" when nothing was understood."""
        if speech.size == 0:
            return ""
        heard = [self._transcribe_window(window) for window in _windows(speech)]
        return " ".join(text for text in heard if text)

    def _transcribe_window(self, speech: Samples) -> str:
        samples = np.zeros((1, max(speech.size + _SILENCE_SAMPLES, _INPUT_SAMPLES_MIN)), np.float32)
        samples[0, : speech.size] = speech
        mask = np.ones(samples.shape, np.int64)
        states = self._encoder.run(None, {"input_values": samples, "attention_mask": mask})[0]
        tokens = self._decode(states, mask)
        text = b"".join(self._pieces[token] for token in tokens).decode(errors="replace")
        text = text.replace("\u2581", " ").strip()  # how SentencePiece writes a space
        return text if any(character.isalnum() for character in text) else ""  # music comes out as notes

    def _decode(self, states: NDArray[np.float32], mask: NDArray[np.int64]) -> list[int]:
        """Greedy: the likeliest next token until the model ends, or the speech cannot hold more."""
        empty = np.zeros((1, _HEADS, 0, _HEAD_WIDTH), np.float32)
        past: dict[str, Any] = {name.replace("present", "past_key_values"): empty for name in self._cache_names}
        tokens = [_START_TOKEN]
        tokens_max = int(mask.size / SAMPLE_RATE * _TOKENS_PER_SECOND_MAX) + _TOKENS_SPARE
        while len(tokens) <= tokens_max:
            first = len(tokens) == 1
            feed = {
                "input_ids": np.array([tokens[-1:]], np.int64),
                "encoder_attention_mask": mask,
                "encoder_hidden_states": states,
                "use_cache_branch": np.array([not first]),
            }
            logits, *present = self._decoder.run(None, feed | past)
            token = int(logits[0, -1].argmax())
            if token == _END_TOKEN:
                break
            tokens.append(token)
            for name, value in zip(self._cache_names, present, strict=True):
                if first or ".decoder." in name:  # the encoder's part stays as the first step computed it
                    past[name.replace("present", "past_key_values")] = value
            if circle := _circle_length(tokens):
                return tokens[1 : len(tokens) - circle * (_CIRCLES[circle] - 1)]
        return tokens[1:]


def _circle_length(tokens: list[int]) -> int:
    """Length of the phrase that the tokens end in again and again, or 0."""
    for length, times in _CIRCLES.items():
        tail = tokens[-length * times :]
        if len(tail) == length * times and tail == tail[:length] * times:
            return length
    return 0


def _windows(speech: Samples) -> list[Samples]:
    """Cut long speech where it is quietest, so that few words are cut in two."""
    windows = []
    while speech.size > _WINDOW_SAMPLES_MAX:
        search = speech[_WINDOW_SAMPLES_MAX - _CUT_SEARCH_SAMPLES : _WINDOW_SAMPLES_MAX]
        energy = np.square(search.reshape(-1, _QUIET_SAMPLES)).sum(axis=1)
        cut = _WINDOW_SAMPLES_MAX - _CUT_SEARCH_SAMPLES + int(energy.argmin()) * _QUIET_SAMPLES + _QUIET_SAMPLES // 2
        windows.append(speech[:cut])
        speech = speech[cut:]
    return [*windows, speech]


def _installed_weights() -> Path:
    package = importlib.util.find_spec("moonshine_voice")
    if package is None or package.origin is None:
        raise MisuseError("the speech recogniser is not installed: pip install 'realtime-bridge[local]'")
    folder = Path(package.origin).parent / "assets" / "tiny-en"
    if not folder.is_dir():
        raise MisuseError(
            f"{folder.parent.parent} carries no tiny-en weights (newer moonshine-voice wheels do not): "
            "pip install 'realtime-bridge[local]'"
        )
    return folder


def _session(model: Path) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime  # noqa: PLC0415 - optional, and slow to load
    except ImportError as error:
        raise MisuseError("onnxruntime is not installed: pip install 'realtime-bridge[local]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # calls run side by side; threads would contend
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _read_vocabulary(path: Path) -> list[bytes]:
    """Token -> its bytes. The file holds, for each token, a length (one byte, or two from 128 on) and the bytes."""
    packed = path.read_bytes()
    pieces, at = [], 0
    while at < len(packed):
        length = packed[at]
        at += 1
        if length >= 128:
            length = packed[at] * 128 + length - 128
            at += 1
        pieces.append(packed[at : at + length])
        at += length
    return pieces
