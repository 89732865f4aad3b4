"""Sound between the phone (G.711, 8 kHz) and the model (PCM16 at 24 kHz, or G.711 as it is).

Pure: bytes in, bytes out. `transcoder` is what a call uses; `g711` and the two resamplers are its parts.
PCM16 means 16-bit signed samples, mono, little-endian, as everywhere in the Realtime API.
"""

from realtime_bridge.audio.resample import Downsampler, Upsampler
from realtime_bridge.audio.transcode import MulawPassThrough, Pcm24kTranscoder, Transcoder, transcoder

__all__ = [
    "Downsampler",
    "MulawPassThrough",
    "Pcm24kTranscoder",
    "Transcoder",
    "Upsampler",
    "transcoder",
]
