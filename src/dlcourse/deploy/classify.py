"""python classify.py PICTURE...: the class of each picture and how sure that is, by model.onnx beside this file."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

if __name__ == "__main__":
    session = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"))
    about = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    channels, height, width = about["shape"]
    for name in sys.argv[1:]:
        image = ImageOps.exif_transpose(Image.open(name))
        if image.mode[0] in "IF":  # more than 8 bits
            low, high = about["value_range"] or (0, 65535)
            share = (np.asarray(image, np.float64) - low) / (high - low)
            image = Image.fromarray((255 * share.clip(0, 1)).round().astype(np.uint8))
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
        x = np.asarray(image).reshape(1, height, width, channels).transpose(0, 3, 1, 2)
        (probabilities,) = session.run(None, {"images": x})[0]
        best = probabilities.argmax()
        print(f"{name}: {about['classes'][best]}, {probabilities[best]:.4f}")
