"""The tokeniser of later iterations: a patch is called after what a trained encoder makes of it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.encoders.beats_checkpoint import load_beats
from asdkit.pretrain.config import TokenizerConfig

ROUNDS = 20  # of k-means


class TeacherTokenizer(nn.Module):
    """A frozen encoder's tokens -> nearest vectors of a product codebook, by cosine.

    The tokens' dimensions are standardised and cut into `codebooks` parts; the codes of a part are its k-means centres
    over the training sounds (`fit`). BEATs trains a second network to predict the teacher through a codebook (Sec.
    3.2.2); here the teacher is quantised directly, as HuBERT does (Hsu et al., 2021), which needs no training.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        assert config.teacher
        self.encoder = load_beats(config.teacher).requires_grad_(False)
        dim, parts = self.encoder.dim, config.codebooks
        if dim % parts:
            raise ValueError(f"tokenizer.codebooks {parts}: the teacher's {dim} dimensions cannot be cut into {parts}")
        self.register_buffer("codes", torch.zeros(parts, config.codes, dim // parts))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))

    def fit(self, feats: Tensor) -> None:
        """Set mean, spread and codes from features [B, F, M]; the first centres come from torch's global generator.

        Raises ValueError when there are fewer patches than codes.
        """
        x = self._hear(feats).flatten(0, 1)
        if len(x) < self.codes.shape[1]:
            raise ValueError(
                f"{len(x)} patches for {self.codes.shape[1]} codes: raise tokenizer.statistics_clips or lower codes"
            )
        self.mean.copy_(x.mean(0))
        self.spread.copy_(x.std(0).clamp(min=1e-3))
        for codes, part in zip(self.codes, self._parts(x).unbind(-2), strict=True):
            codes.copy_(centres(part, len(codes)))

    @torch.no_grad()
    def forward(self, feats: Tensor) -> Tensor:
        """Features [B, F, M] -> number of the nearest code of each patch in each codebook, int64 [B, N, codebooks]."""
        with torch.autocast(feats.device.type, enabled=False):
            return torch.einsum("bnkd,kcd->bnkc", self._parts(self._hear(feats)), self.codes).argmax(-1)

    @torch.no_grad()
    def _hear(self, feats: Tensor) -> Tensor:
        self.encoder.eval()
        return torch.cat([self.encoder(part) for part in feats.float().split(32)])

    def _parts(self, x: Tensor) -> Tensor:
        return F.normalize(((x - self.mean) / self.spread).unflatten(-1, (len(self.codes), -1)), dim=-1)


def centres(x: Tensor, count: int) -> Tensor:
    """Centres of `count` clusters of unit vectors x [M, d], of unit length: [count, d] (spherical k-means)."""
    chosen = x[torch.randperm(len(x))[:count].to(x.device)]
    for _ in range(ROUNDS):
        nearest = (x @ chosen.t()).argmax(1)
        sums = torch.zeros_like(chosen).index_add_(0, nearest, x)
        # a cluster that nobody is in keeps its centre
        chosen = F.normalize(torch.where(sums.norm(dim=1, keepdim=True) > 1e-6, sums, chosen), dim=1)
    return chosen
