"""Token ids against the tokenizers library that transformers uses."""

import gzip
import pathlib
import random
import shutil
import subprocess

import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers")

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers  # noqa: E402

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
PRE_TOKENIZERS = {
    "gpt-2": WORDS,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), WORDS]),
    "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), BYTES]),
    "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated"), BYTES]),
    "bytes": BYTES,
}

HARD = [
    "", " ", "a", "The pig chased the dog.", "don't DON'T we'll We'LL I'm 'tis", "1234567890 12 3 0x1F 3.14159 1,000",
    "\u0661\u0662\u0663 \u00bd \u2167 \U0001d7d8 x\u00b2", "  two   three    four\t\ttabs \t mixed ", "line\nline\n\n\nline\r\nline \n x\n",
    "trailing   ", "\u00a0nbsp\u00a0\u2003em\u3000wide \u180e vowel \u200b zero \u2028 line \x85 nel \ufeff bom",
    "na\u00efve caf\u00e9 cafe\u0301 \u00c5ngstr\u00f6m \u1e9e \u017f's", "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0 \ud55c\uad6d\uc5b4 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\U0001f600\U0001f469\u200d\U0001f4bb\U0001f1ea\U0001f1fa emoji", "a" * 500, "-" * 333 + "=" * 77, " " * 200 + "x" + "\n" * 90,
    "<|im_start|>user<|endoftext|>", "#include <x>\n\tint main() { return 0; }\n", "snake_case CamelCase kebab-case __dunder__",
]


def random_texts(seed, count):
    generator = random.Random(seed)
    letters = "ab eEsStT'  \t\n\r01239.,-_\u00e9\u00bd\u00a0\u3000\u65e5\U0001f600\u0301"
    return ["".join(generator.choice(letters) for _ in range(generator.randrange(1, 60))) for _ in range(count)]


def agree(probe, model, reference, texts):
    for text in texts:
        want = np.array(reference.encode(text, add_special_tokens=False).ids, np.int32)
        got = probe.tokens(model, text)
        assert np.array_equal(got, want), repr(text[:200])


def packed(texts):
    """Many short texts as one, so that one run of the probe does them all."""
    return ["\n".join(texts)]


@pytest.fixture(scope="module")
def real_texts():
    texts = []
    if shutil.which("bible"):
        texts.append(subprocess.run(["bible", "-f", "gen1:1-rev22:21"], capture_output=True, check=True).stdout.decode())
    for path in pathlib.Path("/usr/share").glob("**/jargon.txt.gz"):
        texts.append(gzip.decompress(path.read_bytes()).decode())
    return texts


@pytest.fixture(scope="module")
def smollm2_tokenizer(smollm2):
    """As SmolLM2's own tokenizer.json has it. (The one that transformers builds from a GGUF leaves out the split of
    digits, and so gives other ids where several blanks stand before a digit.)"""
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(smollm2).fields
    vocab = {token: i for i, token in enumerate(fields["tokenizer.ggml.tokens"].contents())}
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS["smollm"]
    return tokenizer


def test_smollm2_on_real_text(probe, smollm2, smollm2_tokenizer, real_texts):
    agree(probe, smollm2, smollm2_tokenizer, real_texts)


def test_smollm2_on_hard_text(probe, smollm2, smollm2_tokenizer):
    agree(probe, smollm2, smollm2_tokenizer, HARD + packed(random_texts(1, 2000)))


def test_smollm2_agrees_with_transformers_on_the_bible(probe, smollm2, real_texts):
    transformers = pytest.importorskip("transformers")
    if not real_texts:
        pytest.skip("no real text is installed")
    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    text = real_texts[0][:400_000]
    assert np.array_equal(probe.tokens(smollm2, text), tokenizer(text)["input_ids"])


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@pytest.mark.parametrize("ignore_merges", [False, True])
def test_every_pre_tokenizer(probe, tmp_path, name, ignore_merges):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[name]
    if name != "bytes":
        corpus = HARD * 3 + random_texts(5, 3000)
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet,
                                                                  show_progress=False))
    else:
        tokenizer.model = models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
                                     merges=[])
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    agree(probe, folder, tokenizer, HARD + packed(random_texts(6, 2000)))
