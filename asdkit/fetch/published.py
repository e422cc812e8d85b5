"""Published weights of the encoders: where their authors put them, and under which licence."""

from dataclasses import dataclass, replace

# What a licence asks for, in short: its own words count.
LICENCES = {
    "MIT": "free to use and to pass on; the notice goes with it",
    "BSD-3-Clause": "free to use and to pass on; the notice goes with it, the authors' names advertise nothing",
    "Apache-2.0": "free to use and to pass on; the notices go with it, and what was changed is said",
    "CC BY 4.0": "free to use and to pass on; names the authors, says what was changed",
    "CC BY-SA 3.0": "names the authors; what is made from it may be passed on under the same licence alone",
    "CC BY-NC-SA 4.0": "FORBIDS COMMERCIAL USE; names the authors; what is made from it may be passed on under the "
    "same licence alone",
    "not stated": "NOBODY HAS ALLOWED ANYTHING: without a licence the authors keep all rights; ask them",
}


@dataclass(frozen=True)
class Published:
    """Weights that an encoder reads, from one source: an address, a Zenodo record, a hub, or a page for a browser.

    encoder: `encoder.name`. page: where the authors tell of them. file: its name; a hub's is a folder. megabytes:
    about. sha256: as far as it is known. note: what else is to be known of the licence.
    """

    name: str
    encoder: str
    licence: str
    page: str
    file: str = ""
    url: str = ""
    record: int = 0
    hub: str = ""
    browser: str = ""
    megabytes: int = 0
    sha256: str = ""
    note: str = ""

    def source(self) -> str:
        """Where it comes from, in words."""
        if self.hub:
            return f"huggingface.co/{self.hub}"
        return self.url or self.browser or f"zenodo.org/records/{self.record}"


BEATS = "https://github.com/microsoft/unilm/tree/master/beats"
AST = "https://github.com/YuanGongND/ast"
ATST = "https://github.com/Audio-WestlakeU/audiossl"
CED = "https://github.com/RicherMans/CED"
DASHENG = "https://github.com/RicherMans/Dasheng"
EAT = "https://github.com/cwx-worst-one/EAT"
FISHER = "https://github.com/jianganbai/FISHER"
CLAP = "https://github.com/LAION-AI/CLAP"
OSS = "https://checkpointstorage.oss-cn-beijing.aliyuncs.com/atst"
DRIVE = "https://drive.google.com/file/d"
HUB = "https://huggingface.co"
APACHE = "the authors' code is under Apache-2.0"
GPL = "the authors' code is under GPL-3.0; the copy on the hub says Apache-2.0"
WAVLM = "https://github.com/microsoft/unilm/tree/master/wavlm"
UNILM = "its page points to the licence of the repository microsoft/UniSpeech"


def _hub(name: str, encoder: str, licence: str, repository: str, megabytes: int, note: str = "") -> Published:
    page = f"{HUB}/{repository}"
    return Published(name, encoder, licence, page, hub=repository, megabytes=megabytes, note=note)


def _beats(name: str, file: str, megabytes: int = 361) -> Published:
    return Published(name, "beats", "MIT", BEATS, f"{file}.pt", browser=BEATS, megabytes=megabytes)


def _ced(size: str, score: int, megabytes: int) -> list[Published]:
    file = f"audiotransformer_{size}_mAP_{score}.pt"
    return [
        Published(f"ced_{size}", "ced", "not stated", CED, file, record=8275347, megabytes=megabytes, note=GPL),
        _hub(f"ced_{size}_hub", "ced", "Apache-2.0", f"mispeech/ced-{size}", megabytes),
    ]


def _dasheng(name: str, hub: str, megabytes: int) -> list[Published]:
    return [
        Published(
            f"dasheng_{name}", "dasheng", "not stated", DASHENG, f"dasheng_{name}.pt", record=11511780,
            megabytes=megabytes, note=APACHE,
        ),
        _hub(f"dasheng_{name}_hub", "dasheng", "Apache-2.0", f"mispeech/dasheng-{hub}", megabytes),
    ]  # fmt: skip


def _atst_frame(size: str, identity: str, megabytes: int) -> Published:
    link = f"{DRIVE}/{identity}/view"
    name, file = f"atst_frame_{size}", f"atstframe_{size}.ckpt"
    return Published(name, "atst_frame", "CC BY 4.0", ATST, file, browser=link, megabytes=megabytes)


_ALL = [
    replace(_beats("beats_iter3", "BEATs_iter3"), sha256="8d1b2340"),
    _beats("beats_iter3_plus", "BEATs_iter3_plus_AS2M"),
    _beats("beats_iter3_plus_cpt1", "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt1", 363),
    _beats("beats_iter3_plus_cpt2", "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2", 363),
    Published(
        "ast", "ast", "BSD-3-Clause", AST, "audioset_10_10_0.4593.pth",
        url="https://www.dropbox.com/s/ca0b1v2nlxzyeb4/audioset_10_10_0.4593.pth?dl=1", megabytes=350,
    ),
    _hub("ast_hub", "ast", "BSD-3-Clause", "MIT/ast-finetuned-audioset-10-10-0.4593", 346),
    Published("atst_clip_base", "atst_clip", "CC BY 4.0", ATST, "base.ckpt", url=f"{OSS}/base.ckpt"),
    Published("atst_clip_small", "atst_clip", "CC BY 4.0", ATST, "small.ckpt", url=f"{OSS}/small.ckpt"),
    _atst_frame("base", "1bGJSZWlAIIJ6GL5Id5dW0PTB72DL-QDQ", 0),
    _atst_frame("small", "1xZoOTuxV415icYONYbeFQzgrmJQf4a4B", 0),
    *_ced("base", 4999, 343),
    *_ced("small", 4958, 87),
    *_ced("mini", 4896, 39),
    *_ced("tiny", 4814, 22),
    *(
        Published(f"eat_{name}", "eat", "MIT", EAT, f"EAT-{name}.pt", browser=f"{DRIVE}/{identity}/view")
        for name, identity in (
            ("base_epoch30_pretrain", "19hfzLgHCkyqTOYmHt8dqVa9nm-weBq4f"),
            ("large_epoch20_pretrain", "1PEgriRvHsqrtLzlA478VemX7Q0ZGl889"),
        )
    ),
    *(
        _hub(f"eat_{name}_hub", "eat", "MIT", f"worstchan/EAT-{name}", size)
        for name, size in (
            ("base_epoch30_pretrain", 360), ("base_epoch30_finetune_AS2M", 362), ("large_epoch20_pretrain", 1236),
            ("large_epoch20_finetune_AS2M", 1238),
        )
    ),
    *_dasheng("base", "base", 342),
    *_dasheng("06b", "0.6B", 2521),
    *_dasheng("12b", "1.2B", 4540),
    Published(
        "dasheng_audioset", "dasheng", "not stated", DASHENG, "dasheng_audioset_mAP497.pt", record=13315686,
        megabytes=344, note=APACHE,
    ),
    *(
        Published(
            f"fisher_{size}", "fisher", "MIT", FISHER, f"FISHER-{size}-0723.pt",
            url=f"https://cloud.tsinghua.edu.cn/f/{identity}/?dl=1", megabytes=big, note="the repository's licence",
        )
        for size, identity, big in (
            ("tiny", "630a4b1b2962481a9150", 26), ("mini", "60b3bfc0977f45f48dff", 45),
            ("small", "f997a6932b614046915e", 95),
        )
    ),
    Published(
        "clap", "clap", "not stated", CLAP, "630k-audioset-best.pt",
        url=f"{HUB}/lukewys/laion_clap/resolve/main/630k-audioset-best.pt", megabytes=1900,
        note="the authors' code is under CC0 1.0",
    ),
    _hub("clap_hub", "clap", "Apache-2.0", "laion/clap-htsat-unfused", 615),
    Published(
        "imagebind", "imagebind", "CC BY-NC-SA 4.0", "https://github.com/facebookresearch/ImageBind",
        "imagebind_huge.pth", url="https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth", megabytes=4500,
        note="the audio part is a tenth of the file",
    ),
    _hub("wav2vec2_base", "wav2vec2", "Apache-2.0", "facebook/wav2vec2-base", 378),
    _hub("wav2vec2_large", "wav2vec2", "Apache-2.0", "facebook/wav2vec2-large", 1262),
    _hub("wav2vec2_large_lv60", "wav2vec2", "Apache-2.0", "facebook/wav2vec2-large-lv60", 1262),
    *(
        Published(
            f"wav2vec2_{size}_original", "wav2vec2", "MIT", "https://github.com/facebookresearch/fairseq", file,
            url=f"https://dl.fbaipublicfiles.com/fairseq/wav2vec/{file}",
        )
        for size, file in (
            ("base", "wav2vec_small.pt"), ("large", "libri960_big.pt"), ("large_lv60", "wav2vec_vox_new.pt")
        )
    ),
    _hub("hubert_base", "hubert", "Apache-2.0", "facebook/hubert-base-ls960", 378),
    _hub("hubert_large", "hubert", "Apache-2.0", "facebook/hubert-large-ll60k", 1262),
    _hub("unispeech_large", "unispeech", "CC BY-SA 3.0", "microsoft/unispeech-large-1500h-cv", 1262),
    _hub("wavlm_base", "wavlm", "CC BY-SA 3.0", "microsoft/wavlm-base", 378, UNILM),
    _hub("wavlm_base_plus", "wavlm", "CC BY-SA 3.0", "microsoft/wavlm-base-plus", 378, UNILM),
    _hub("wavlm_large", "wavlm", "CC BY-SA 3.0", "microsoft/wavlm-large", 1262, UNILM),
]  # fmt: skip
_ALL += [
    Published(f"wavlm_{size}_original", "wavlm", "CC BY-SA 3.0", WAVLM, file, browser=WAVLM, note=UNILM)
    for size, file in (("base", "WavLM-Base.pt"), ("base_plus", "WavLM-Base+.pt"), ("large", "WavLM-Large.pt"))
]  # fmt: skip
PUBLISHED = {one.name: one for one in _ALL}
