"""Makes tokenizer-*.json and tokenizerIds.json in this folder.

The tokenizers are trained on the text below; the ids and texts are what the reference implementation (the Rust
`tokenizers` package, through Python) gives for the strings below. Run: python test/goldens/tokenizerGoldens.py
"""

import json
import pathlib

import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

here = pathlib.Path(__file__).parent

text = """
The harbour was quiet when the first boats came in. Nobody spoke; the gulls did all the talking, and they don't stop.
"It's colder than yesterday," said the woman at the scales. "We'll weigh what there is: 12 crates, 340 kilos, 7 left over."
function weigh(crates) {
    const total = crates.reduce((sum, crate) => sum + crate.kilos, 0);
	return { total, mean: total / crates.length };
}
Der Hafen war still, als die ersten Boote einliefen; über dem Wasser hing Nebel. Größe, Straße, Äpfel, naïve, café.
Порт был тих, когда пришли первые лодки. Никто не говорил.
港はまだ静かだった。最初の船が入ってきたとき、誰も話さなかった。 港口很安静。
They weighed the crates again and again, and again the total was the same: 340. The boats went out, the boats came in.
while (boats.length > 0) { const boat = boats.shift(); weigh(boat.crates); }   // until the last boat
"""

strings = [
    "",
    "The boats came in.",
    " leading and trailing ",
    "two  spaces   three    four",
    "tabs\tand\t\ttabs",
    "lines\nand\n\nmore\r\nlines\n",
    "\n\n  \n x",
    "   ",
    "don't we'll IT'S they'Re 'tis",
    "12 crates, 340 kilos, 1234567890",
    "x=3.14e-10;y+=2**8",
    "function f(a, b) { return a => b; }",
    "Größe über Straße",
    "cafe\u0301 versus caf\u00e9",
    "Порт был тих",
    "港はまだ静かだった。",
    "港口很安静,mixed with English",
    "한국어 텍스트",
    "שלום עולם",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "😀",
    "👩\u200d👩\u200d👧\u200d👦 family 🇫🇷 flag 👍🏽",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈",
    "no-break\u00a0space thin\u2009space ideographic\u3000space",
    "\ufeffbyte order mark",
    "next\u0085line \u2028 separators \u2029",
    "zero\u200bwidth",
    "null\u0000byte and \u0001 control \u007f",
    "٣٤٥ Arabic digits, Ⅷ roman, ½ half, ² squared",
    "<|endoftext|>",
    "before<|endoftext|>after",
    "before <|user|> after<|user|><|user|>",
    "<s>begin</s> end</s>",
    "<|endoftext",
    "▁underline▁ lower one eighth block",
    "<0x41> is not a byte",
    "a" * 300,
    "!?!?...---___***",
    "\ufffd replacement",
    "a \ufeff b \ufeff\ufeffc",
    "x  \ufeffy   \ufeff",
    "x  \u0085y   \u0085",
    "a \u0085 b \u0085\u0085c",
    "a \u180e b \u1680 c \u200b d",
    "१२३ ೧೨ 𝟘𝟙 ①② 〇三",
]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>", "<|user|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer


def byte_level_llama3():
    """A regular expression of its own, runs of up to three digits, merges ignored for whole words."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=["<|endoftext|>", "<|user|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer


def byte_level_digits():
    """Single digits, composed characters, a space before the first word."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=450,
        special_tokens=["<|endoftext|>", "<|user|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer


def byte_fallback():
    """Llama 2's way: spaces as U+2581, no pre-tokenizer, bytes for what the vocabulary lacks."""
    specials = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # Trained word by word, as sentencepiece does, so that no merge crosses a word.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=620,
        special_tokens=specials + [f"<0x{byte:02X}>" for byte in range(256)],
        limit_alphabet=80,
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    model = json.loads(tokenizer.to_str())
    model["pre_tokenizer"] = None
    model["added_tokens"] = [token for token in model["added_tokens"] if token["content"] in specials]
    return Tokenizer.from_str(json.dumps(model))


def unigram():
    """sentencepiece's other model, with Metaspace."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=["<unk>", "<|endoftext|>"], unk_token="<unk>")
    tokenizer.train_from_iterator(text.splitlines(), trainer)
    return tokenizer


goldens = {"madeWith": f"tokenizers {tokenizers.__version__}, test/goldens/tokenizerGoldens.py", "strings": strings, "tokenizers": {}}
for make in (byte_level, byte_level_llama3, byte_level_digits, byte_fallback, unigram):
    tokenizer = make()
    name = make.__name__.replace("_", "-")
    tokenizer.save(str(here / f"tokenizer-{name}.json"), pretty=False)
    ids = [tokenizer.encode(string, add_special_tokens=False).ids for string in strings]
    goldens["tokenizers"][name] = {
        "ids": ids,
        "texts": [tokenizer.decode(row, skip_special_tokens=False) for row in ids],
        "textsWithoutSpecial": [tokenizer.decode(row, skip_special_tokens=True) for row in ids],
    }
(here / "tokenizerIds.json").write_text(json.dumps(goldens, ensure_ascii=True, indent=0) + "\n")
