"""The training loop: an epoch is steps, a look at the validation split, and events for whoever listens."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from striate.chance import Stream
from striate.data import Augmentation, DataSet, Images, image_weights
from striate.errors import DataError, StriateError, UsageError
from striate.train import monitors
from striate.train.average import Average, Lookahead
from striate.train.checkpoint import pack_optimiser, unpack_optimiser
from striate.train.distributed import Group, Share, exchanging, spread
from striate.train.engine import Engine, resized
from striate.train.evaluate import logits
from striate.train.events import State, programme, tell
from striate.train.labels import mean_average_precision
from striate.train.losses import loss_function, right, to_probabilities
from striate.train.optim import optimiser
from striate.train.recipe import Recipe
from striate.train.schedule import factor, grown
from striate.train.signals import Interrupted, listening
from striate.transfer.parts import rates

SWA_FROM = 0.75  # of the run
LOOK = 50  # batches between two looks at the loss on a device where looking means waiting


class Loop:
    """Trains `engine` on `data` as `recipe` says; everything that decides the next step is in `state_dict`."""

    def __init__(
        self,
        recipe: Recipe,
        data: DataSet,
        engine: Engine,
        listeners: Sequence[Any] = (),
        group: Group | None = None,
        stream: Stream | None = None,
    ) -> None:
        self.recipe, self.data, self.engine, self.listeners = recipe, data, engine, listeners
        self.group = group or Group()
        self.stream = stream or Stream(recipe.seed, engine.device)  # of what layers draw as they train
        monitors.refuse_unmeasurable(recipe.monitor, data)
        self.images, self.batches = self._count()
        self.gather = self.batches if recipe.opt == "gd" else recipe.accumulate  # batches a step
        self.steps = -(-self.batches // self.gather)  # an epoch
        self.optimiser = optimiser(
            recipe.opt,
            engine.module,
            recipe.lr,
            recipe.momentum,
            recipe.weight_decay,
            decay_all=recipe.decay_all,
            bias_lr=recipe.bias_lr,
            rates=rates(engine.module, recipe.layer_decay) if recipe.starts_trained else None,
        )
        self.peaks = [g["lr"] for g in self.optimiser.param_groups]
        self.least = recipe.min_lr / self.peaks[0]  # the lowest rate as a share of the peak
        if self.least >= 1:
            raise UsageError(
                f"--min-lr {recipe.min_lr:g} is no lower than the peak, --lr {self.peaks[0]:g}",
                "a lower --min-lr",
            )
        self.trained = [p for g in self.optimiser.param_groups for p in g["params"]]
        self.scaler = torch.amp.GradScaler(engine.device.type, enabled=engine.dtype == torch.float16)
        kind = recipe.loss or ("binary-cross-entropy" if data.several else "cross-entropy")
        self.criterion = loss_function(kind, recipe.smoothing, recipe.focal_gamma, data.several)
        self.augment = Augmentation.of(recipe.augment, len(data.classes))
        if self.augment.mixes and recipe.class_weights:
            raise UsageError(
                "--class-weights weigh pictures of one class, not mixed ones", "leave out one of the two"
            )
        weights = image_weights(data.train, len(data.classes), recipe.class_weights)
        self.weights = None if weights is None else torch.from_numpy(weights)
        self._batches(epoch=1)  # what can't be drawn is refused now
        self.average = Average(engine, recipe.average, recipe.ema_decay) if recipe.average != "none" else None
        self.lookahead = Lookahead(self.trained, recipe.lookahead) if recipe.lookahead else None
        self.state = State(recipe.epochs, self.batches)
        self.seconds = 0.0  # of training and validation, all sessions together
        self._mark = 0.0
        spread(engine, self.group)

    def _count(self) -> tuple[int, int]:
        """Images and batches of an epoch. A last batch too small for batch norm or for all ranks is left out."""
        n, size = len(self.data.train), self.recipe.batch_size
        norms = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.engine.module.modules())
        least = max(self.group.size, 2 if norms else 1)
        if min(n, size) < least:
            why = "batch norm needs two" if least == 2 and self.group.size == 1 else f"{least} are needed"
            raise DataError(f"{min(n, size)} training images a batch: {why}", "--batch-size, or more images")
        used = n - n % size if 0 < n % size < least else n
        return used, -(-used // size)

    def fit(self, save: Callable[["Loop"], None], due: Callable[[], bool] = lambda: True) -> None:
        """Run to the last epoch; `save` is called first, where `due` says so, where a signal stops the run, last."""
        state, self._mark = self.state, time.perf_counter()
        if (state.epoch, state.step) == (1, 0):
            self._save(save)
        tell(self.listeners, "on_start", state)
        try:
            with listening() as signals:
                while state.epoch <= state.epochs and not state.stop:
                    complete = self._epoch(signals, save, due)
                    tell(self.listeners, "on_epoch", state)
                    # the first rank alone tells the listeners of users
                    state.stop, state.rate = self.group.gather((state.stop, state.rate))[0]
                    if not complete:  # saved where it stopped, to go on from there
                        break
                    self._next_epoch()
                    over = state.epoch > state.epochs or bool(state.stop)
                    self._heed(signals, save, over or due())
        finally:
            tell(self.listeners, "on_end", state)

    def _epoch(self, signals: list[int], save: Callable[["Loop"], None], due: Callable[[], bool]) -> bool:
        """One epoch from `state.step` on; whether the time sufficed."""
        state = self.state
        self._mark, seen_before = time.perf_counter(), state.seen
        began, complete = self._mark, True
        loader = self._batches(state.epoch, state.step)
        self.engine.train()
        for images, labels in loader:
            self._step(images, labels, torch.from_numpy(loader.rows(state.step)))
            tell(self.listeners, "on_step", state)
            state.rate = self.group.said_first(state.rate)
            if self._heed(signals, save, self._due(due), self._time_up()):
                complete = state.step == self.batches
                break
        training_seconds = time.perf_counter() - began
        self._measure()
        self._lap()
        state.metrics |= {
            "lr": self.optimiser.param_groups[0]["lr"],
            "images_per_second": (state.seen - seen_before) / training_seconds,
            "seconds": time.perf_counter() - began,
        }
        return complete

    def _batches(self, epoch: int, start: int = 0) -> Share:
        """This rank's part of the batches of an epoch."""
        recipe = self.recipe
        return Share(
            self.group,
            self.data.train,
            recipe.batch_size,
            seed=recipe.seed,
            epoch=epoch,
            start=start,
            workers=recipe.workers,
            sampling="balanced" if recipe.balanced else "all",
            drop_last=self.images < len(self.data.train),
        )

    def _heed(
        self, signals: list[int], save: Callable[["Loop"], None], saving: bool, time_up: bool = False
    ) -> bool:
        """Save where a rank wants to; whether the time of one is up. A signal to any ends the run of all."""
        number, over, wanted = self.group.most([signals[0] if signals else 0, int(time_up), int(saving)])
        if over and not number:
            self.state.stop = f"{self.recipe.stop_after:g} seconds are over"
        if number or over or wanted:
            self._save(save)
        if number:
            raise Interrupted(number, "go on with `striate train --resume RUN`")
        return bool(over)

    def _time_up(self) -> bool:
        limit = self.recipe.stop_after
        return limit is not None and self.seconds + time.perf_counter() - self._mark >= limit

    def _due(self, due: Callable[[], bool]) -> bool:
        """Whether to save in mid-epoch."""
        if self.recipe.save_every:
            return self.state.step % self.recipe.save_every == 0
        return self.state.step < self.batches and due()

    def _step(self, images: Tensor, labels: Tensor, rows: Tensor) -> None:
        state, recipe, device = self.state, self.recipe, self.engine.device
        begun = state.step - state.step % self.gather  # the batch that this step of the optimiser began with
        end = min(begun + self.gather, self.batches)
        whole = self._images(state.step, state.step + 1)
        images = images.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        generator = self._generator((state.epoch - 1) * self.batches + state.step)
        images, labels = self.augment(images, labels, generator, rows, state.epoch)
        with exchanging(self.engine, state.step + 1 == end):
            with self.stream.drawing():
                scores, auxiliary = self.engine.run_with_auxiliary(self._sized(self.engine.prepare(images)))
            weights = None if self.weights is None else self.weights[rows].to(device)
            loss = self.criterion(scores, labels, weights)
            total = loss + recipe.aux_weight * sum(self.criterion(a, labels, weights) for a in auxiliary)
            share = self.group.size * len(labels) / self._images(begun, end)
            self.scaler.scale(total * share if share != 1 else total).backward()
        if state.step + 1 == end:
            self._update((state.epoch - 1) * self.steps + state.step // self.gather)
        with torch.no_grad():
            correct = right(scores, labels, self.data.several).sum()
            state.loss_sum = loss.detach() * len(labels) + (0 if state.loss_sum is None else state.loss_sum)
            state.correct = correct + (0 if state.correct is None else state.correct)
        state.seen += whole
        state.step += 1
        if device.type == "cpu" or state.step % LOOK == 0:
            self._refuse_nan(float(loss.detach()))

    def _sized(self, x: Tensor) -> Tensor:
        """A prepared batch, smaller early in a run whose images grow."""
        if self.recipe.grow is None:
            return x
        done = (self.state.epoch - 1 + self.state.step / self.batches) / self.recipe.epochs
        size = grown(self.data.shape[1:], self.recipe.grow, done)
        return resized(x, size)

    def _update(self, step: int) -> None:
        """Step number `step` of the optimiser, and of what follows it."""
        recipe = self.recipe
        done = step / (recipe.epochs * self.steps)
        rate = self.state.rate * factor(recipe.sched, done, recipe.warmup, self.state.epoch, self.least)
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate
        if recipe.clip is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.trained, recipe.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        if self.lookahead is not None:
            self.lookahead.update(step + 1)
        if self.average is not None and recipe.average == "ema":
            self.average.update()

    def programme(self) -> str:
        """The run as an outline: what a step does, and who hears of what, in order."""
        recipe = self.recipe
        size = f"shrink (grow {recipe.grow:g}), " if recipe.grow is not None else ""
        steps = [
            f"augment ({recipe.augment}), standardise, {size}forward in {self.engine.dtype}, loss, backward"
        ]
        when = f"every {self.gather} batches: " if self.gather > 1 else ""
        clip = f"clip to {recipe.clip:g}, " if recipe.clip is not None else ""
        steps.append(f"{when}set the rate ({recipe.sched}), {clip}step of {recipe.opt}")
        if self.lookahead is not None:
            steps.append(f"every {recipe.lookahead} steps: look ahead")
        if recipe.average == "ema":
            steps.append("follow with the average (ema)")
        averaged = "add the weights to the mean (swa), in the last quarter" if recipe.average == "swa" else ""
        return programme(self.listeners, steps, averaged)

    def _measure(self) -> None:
        """Training and validation metrics of the epoch; SWA takes its sample first."""
        state, recipe = self.state, self.recipe
        if self.average is not None and recipe.average == "swa" and state.epoch > SWA_FROM * state.epochs:
            self.average.update()
            if not self.engine.steady_norms:
                with self.stream.drawing():
                    self.average.measure_norms(self.data.train, recipe.batch_size, recipe.workers)
        sums = torch.stack([s for s in (state.loss_sum, state.correct) if s is not None])
        if self.group.size == 1:
            sums = sums.cpu()  # where float64 is known, as on some GPUs it isn't
        loss, correct = self.group.sum(sums.double()).tolist()
        self._refuse_nan(loss)
        self._refuse_bad_weights()
        state.metrics = {"train_loss": loss / state.seen, "train_accuracy": correct / state.seen}
        if len(self.data.val):
            measured = self.validate(self.data.val)
            state.metrics |= {f"val_{name}": value for name, value in measured.items()}

    @property
    def judged(self) -> Engine:
        """What is measured and kept: the average, once there is one, else the network itself."""
        return self.average.engine if self.average is not None and self.average.count else self.engine

    def validate(self, images: Images) -> dict[str, float]:
        """What `measured` says of a split."""
        size, workers = max(256, self.recipe.batch_size), self.recipe.workers
        return self.measured(*logits(self.judged, images, size, workers, self.group))

    def measured(self, scores: Tensor, labels: Tensor) -> dict[str, float]:
        """Loss and accuracy of scores (n, k), what is watched, for several labels an image mean average precision."""
        hits = right(scores, labels, self.data.several)
        measured = {"loss": float(self.criterion(scores, labels)), "accuracy": float(hits.float().mean())}
        if self.data.several:
            measured["map"] = mean_average_precision(labels.cpu().numpy(), scores.cpu().numpy())
        if self.recipe.monitor not in monitors.ALWAYS:
            p = to_probabilities(scores, self.data.several).cpu().numpy()
            measured |= monitors.measured(self.recipe.monitor, labels.cpu().numpy(), p)
        return measured

    def _images(self, first: int, end: int) -> int:
        """Images of all ranks in batches `first` to `end` - 1."""
        size = self.recipe.batch_size
        return min(end * size, self.images) - first * size

    def _next_epoch(self) -> None:
        state = self.state
        state.epoch, state.step, state.seen, state.loss_sum, state.correct = state.epoch + 1, 0, 0, None, None

    def _generator(self, batch: int) -> torch.Generator:
        """Augmentation of a batch depends on the seed and its number alone, so a resumed run draws the same."""
        seed = (self.recipe.seed * 1_000_003 + batch) * self.group.size + self.group.rank
        return torch.Generator().manual_seed(seed)

    def _refuse_nan(self, value: float, what: str = "the loss") -> None:
        if not math.isfinite(value):
            place = f"epoch {self.state.epoch}, batch {self.state.step} of {self.batches}"
            first = self.state.before + self.state.epoch == 1
            kept = (
                "the state that the run began with is"
                if first
                else "the best weights and the last good state are"
            )
            raise StriateError(
                f"{what} became {value} in {place}; {kept} kept",
                "try a lower learning rate: --lr",
            )

    def _refuse_bad_weights(self) -> None:
        largest = torch.stack(torch._foreach_norm([p.detach() for p in self.trained], math.inf)).max()
        self._refuse_nan(float(largest), "a weight")

    def _save(self, save: Callable[["Loop"], None]) -> None:
        """Save; weights that are no numbers don't take the place of good ones."""
        self._refuse_bad_weights()
        self._lap()
        save(self)

    def _lap(self) -> None:
        now = time.perf_counter()
        self.seconds, self._mark = self.seconds + now - self._mark, now

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a resumed run needs, as tensors and as plain facts; every rank calls it."""
        state = self.state
        tensors = {f"module.{k}": v for k, v in self.engine.module.state_dict().items()}
        packed, groups = pack_optimiser(self.optimiser)
        tensors |= packed
        tensors |= self._pending()
        for follower in (self.average, self.lookahead):
            tensors |= follower.state_dict() if follower is not None else {}
        for rank, numbers in enumerate(
            self.group.gather({d.type: state for d, state in self.stream.states.items()})
        ):
            tensors |= {f"rng.{kind}.{rank}": v for kind, v in numbers.items()}
        for name in ("loss_sum", "correct"):  # of each rank, for a sum of sums has other last bits
            if (own := getattr(state, name)) is not None:
                parts = self.group.gather(own.detach().cpu())
                tensors[f"sum.{name}"] = torch.stack([torch.as_tensor(part) for part in parts])
        facts = {
            "epoch": state.epoch,
            "step": state.step,
            "seen": state.seen,
            "rate": state.rate,
            "stop": state.stop,
            "batch_size": self.recipe.batch_size,
            "seconds": self.seconds,
            "groups": groups,
            "scaler": self.scaler.state_dict(),
            "listeners": {k: m.state_dict() for k, m in self._lasting()},
        }
        plain = torch.contiguous_format  # as files want tensors
        return {k: v.detach().cpu().clone(memory_format=plain) for k, v in tensors.items()}, facts

    def load_state_dict(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Stand where `state_dict` stood."""
        device, rank = self.engine.device, self.group.rank
        module = {k.removeprefix("module."): v for k, v in tensors.items() if k.startswith("module.")}
        self.engine.module.load_state_dict(module)
        unpack_optimiser(self.optimiser, tensors, facts["groups"])
        self._load_pending(tensors)
        for follower in (self.average, self.lookahead):
            if follower is not None:
                follower.load_state_dict(tensors)
        if facts["scaler"]:  # else it begins now
            self.scaler.load_state_dict(facts["scaler"])
        for own in self.stream.states:  # where a run has more ranks than before, the new ones keep their seed
            if (numbers := tensors.get(f"rng.{own.type}.{rank}")) is not None:
                self.stream.states[own] = numbers
        state = self.state
        state.epoch, state.seen = facts["epoch"], facts["seen"]
        state.rate, state.stop = facts["rate"], facts["stop"]
        state.step = facts["step"] * facts["batch_size"] // self.recipe.batch_size
        for name in ("loss_sum", "correct"):
            parts = tensors.get(f"sum.{name}", torch.zeros(0))
            if 0 < len(parts) != self.group.size:  # another number of ranks: the first takes it all
                parts = torch.stack([parts.sum(), *[parts[0] * 0] * (self.group.size - 1)])
            setattr(state, name, parts[rank].to(device) if len(parts) else None)
        for name, listener in self._lasting():
            if (kept := facts["listeners"].get(name)) is not None:
                listener.load_state_dict(kept)
        self.seconds = facts["seconds"]

    def _pending(self) -> dict[str, Tensor]:
        """Gradients whose step is still to come, of each rank: their mean has other last bits."""
        own = {i: p.grad.cpu() for i, p in enumerate(self.trained) if p.grad is not None}
        return {f"grad.{i}.{r}": g for r, part in enumerate(self.group.gather(own)) for i, g in part.items()}

    def _load_pending(self, tensors: dict[str, Tensor]) -> None:
        """Each rank takes its own; where their number is another one, all take the mean, which steps follow."""
        ranks = sum(key.startswith("rng.cpu.") for key in tensors)
        for i, p in enumerate(self.trained):
            parts = [tensors[key] for r in range(ranks) if (key := f"grad.{i}.{r}") in tensors]
            p.grad = None
            if parts:
                alike = len(parts) == self.group.size
                part = parts[self.group.rank] if alike else torch.stack(parts).mean(0)
                p.grad = part.to(self.engine.device)

    def _lasting(self) -> Iterator[tuple[str, Any]]:
        """Each listener that has a state, by its kind; the second of a kind is `Kind 2`."""
        met = Counter[str]()
        for listener in self.listeners:
            if hasattr(listener, "state_dict"):
                kind = type(listener).__name__
                met[kind] += 1
                yield kind if met[kind] == 1 else f"{kind} {met[kind]}", listener
