"""A CLIP of two small layers with random weights, and a tokenizer that knows fifteen words, in a folder."""

import json

import pytest

WORDS = (
    "red", "heart", "blue", "car", "green", "tree", "dog", "cat", "flag", "hand", "sun", "moon", "fruit", "face",
    "smile",
)  # fmt: skip
START, END = 1, 2


def save(folder, *, preprocessing=None, image_size=32):
    """Write model, tokenizer and, where given, what the model says of its pictures."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="!", end_of_word_suffix="</w>"))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=200, special_tokens=["!", "<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>",
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator([" ".join(WORDS)] * 20, trainer)
    names = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    side = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    text = side | ids | {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 77}
    vision = side | {"image_size": image_size, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    transformers.CLIPModel(config).save_pretrained(folder)
    if preprocessing is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder
