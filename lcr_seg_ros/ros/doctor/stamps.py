"""Checks of header stamps: are images fresh, in order, and do colour and depth belong together?"""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.ros.doctor.graph import Stream
from lcr_seg_ros.ros.doctor.report import Check

AREA = "camera"

FUTURE_S = 0.1
SIM_TIME_S = 1e8
"""Stamps of simulations and bags are this far from the wall clock."""
PAIRED_SHARE = 90
"""Percentile of the distances between partners that slop has to reach."""
ROOM = 1.3


def check_stamps(name: str, stream: Stream, max_age_s: float) -> Check:
    """Whether the node would take these images for fresh ones, in order."""
    stamps = np.array(stream.stamps_ns, np.int64)
    if not stamps.all():
        return Check(AREA, name, "warn", "stamp 0", "let the driver stamp its images: age and latency are unknown")
    ages = np.array([(now - stamp) * 1e-9 for stamp, now, _ in stream.arrivals])
    age = float(np.median(ages))
    found = f"{age * 1e3:.0f} ms old when they arrive (at most {ages.max() * 1e3:.0f} ms)"
    if abs(age) > SIM_TIME_S:
        found = f"{abs(age) / 3.156e7:.1f} years from this machine's clock"
        advice = "a bag or a simulation? Then use_sim_time:=true and a /clock, or play with --stamps now"
        return Check(AREA, name, "fail", found, advice)
    if age < -FUTURE_S:
        found = f"{-age:.2f} s in the future"
        return Check(AREA, name, "warn", found, "synchronise the clocks of the machines (chrony): latency is wrong")
    if 0 < max_age_s < age:
        advice = f"images older than max_age ({max_age_s:g} s) are dropped: synchronise the clocks, or raise max_age"
        return Check(AREA, name, "fail", found, advice)
    back = int((np.diff(stamps) < 0).sum())
    if back:
        found += f"; {back} times they went back"
        return Check(AREA, name, "warn", found, "a bag that loops is fine; else two drivers share the topic")
    return Check(AREA, name, "ok", found)


def check_pairing(color: Stream, depth: Stream, slop_s: float) -> tuple[Check, float | None]:
    """How far colour and depth stamps are apart, and the ``slop`` in s that pairs them if the default does not.

    Args:
        color, depth: with stamps.
        slop_s: of the node by default.
    """
    name = "synchronisation"
    rare, often = sorted((np.sort(color.stamps_ns), np.sort(depth.stamps_ns)), key=len)
    # At the ends of the time listened, a partner may have come just before or after.
    inside = rare[(rare >= often[0]) & (rare <= often[-1])]
    if len(inside) < 3 or len(often) < 3:
        found = f"too few images to tell ({len(color.arrivals)} colour, {len(depth.arrivals)} depth)"
        if not len(inside):
            found = "colour and depth stamps do not overlap in time"
            return Check(AREA, name, "fail", found, "both must be stamped by the same clock"), None
        return Check(AREA, name, "warn", found, "listen longer: --seconds 10"), None
    after = np.searchsorted(often, inside).clip(1, len(often) - 1)
    gaps_s = np.minimum(np.abs(often[after] - inside), np.abs(often[after - 1] - inside)) * 1e-9
    middle, most = float(np.median(gaps_s)), float(np.percentile(gaps_s, PAIRED_SHARE))
    half_period_s = float(np.median(np.diff(often))) * 0.5e-9
    found = f"partners are {middle * 1e3:.1f} ms apart, {PAIRED_SHARE} % of them under {most * 1e3:.1f} ms"
    if most < slop_s:
        return Check(AREA, name, "ok", f"{found}; slop is {slop_s * 1e3:.0f} ms"), None
    # Under half a period: above it a lost image lets the next ones pair with the wrong partner.
    needed = np.ceil(ROOM * most * 1e3) / 1e3
    if most < half_period_s and (slop := float(min(needed, np.floor(half_period_s * 0.95e3) / 1e3))) > middle:
        advice = f"raise slop to {slop:g} s, or synchronise the camera's streams (RealSense: enable_sync:=true)"
        return Check(AREA, name, "warn", f"{found}; slop is {slop_s * 1e3:.0f} ms", advice), slop
    advice = "synchronise the camera's streams (RealSense: enable_sync:=true; equal rates for both)"
    return Check(AREA, name, "fail", f"{found}, half a frame period is {half_period_s * 1e3:.1f} ms", advice), None
