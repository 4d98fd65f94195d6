"""Prints what happened, and compares it with what was wanted."""

from statistics import median

from pairs import NONE, RELAYED, WAYS

DIRECT = "DMP"
# A pair is judged by itself from so many tries on: one that fails is 5 %.
TRIES_TO_JUDGE = 20


def cell(meetings):
    """A cell: how, the median time, and in how many of the tries, if not in all."""
    ways = [m.way for m in meetings if m.way != NONE]
    if not ways:
        return NONE
    way = max(set(ways), key=ways.count)
    times = [m.connected_s if m.direct_s is None else m.direct_s for m in meetings if m.way == way]
    times = [time for time in times if time is not None]
    share = "" if len(times) == len(meetings) else f" {len(times)}/{len(meetings)}"
    return f"{way} {median(times):.2f}{share}"


def grid(sites, meetings):
    """The matrix: the row was asked to connect to the column."""
    of = {}
    for meeting in meetings:
        of.setdefault((meeting.a, meeting.b), []).append(meeting)
    cells = {pair: cell(of_pair) for pair, of_pair in of.items()}
    width = max([len(text) for text in cells.values()] + [len(site) for site in sites]) + 2
    lines = [" " * 8 + "".join(f"{site:<{width}}" for site in sites[1:])]
    for row, site in enumerate(sites[:-1]):
        texts = [cells.get((site, other), "") if at > row else "" for at, other in enumerate(sites)]
        lines.append(f"{site:<8}" + "".join(f"{text:<{width}}" for text in texts[1:]))
    used = {meeting.way for meeting in meetings}
    lines.append("seconds, medians; " + "; ".join(f"{w} {WAYS[w]}" for w in WAYS if w in used))
    return "\n".join(line.rstrip() for line in lines)


def by_kind(kind, meetings):
    """For each pair of kinds: how many tries ended how."""
    counts = {}
    for meeting in meetings:
        pair = kind(meeting.a), kind(meeting.b)
        of_pair = counts.setdefault(pair, {})
        key = f"{meeting.way} {meeting.transport}".strip()
        of_pair[key] = of_pair.get(key, 0) + 1
    lines = []
    for (one, other), ways in sorted(counts.items()):
        text = ", ".join(f"{count} x {way}" for way, count in sorted(ways.items()))
        lines.append(f"{one}-{other:<{20 - len(one)}} {text}")
    return "\n".join(lines)


def shortfalls(wanted, targets, meetings):
    """What misses its target, a line for each pair. The share that becomes direct is judged for each
    pair that was tried often enough, and for all that are punched together; one try of those may fail."""
    of = {}
    for meeting in meetings:
        of.setdefault((meeting.a, meeting.b), []).append(meeting)
    lines, share = [], targets["direct_share_min"]
    every = [m for m in meetings if wanted(m.a, m.b) == "P"]
    failed = [m for m in every if m.direct_s is None]
    for m in failed:
        print(f"not punched: {m.a}-{m.b}, {WAYS[m.way]}")
    if len(failed) > max(1, round((1 - share) * len(every))):
        lines.append(f"direct in {len(every) - len(failed)} of {len(every)} tries of pairs that are punched")
    for (a, b), tries in of.items():
        want, why = wanted(a, b), []
        limit = targets["connected_s_max"]
        late = [m for m in tries if m.connected_s is None or m.connected_s > limit]
        if late:
            why.append(f"not connected within {limit:.0f} s in {len(late)} of {len(tries)}")
        if want in DIRECT:
            direct = [m.direct_s for m in tries if m.direct_s is not None]
            judged = want != "P" or len(tries) >= TRIES_TO_JUDGE
            if judged and len(direct) < share * len(tries):
                relayed = sum(m.way in RELAYED for m in tries)
                why.append(f"direct in {len(direct)} of {len(tries)}, relayed in {relayed}")
            elif direct and median(direct) > targets["direct_s_median_max"]:
                why.append(f"direct after {median(direct):.1f} s (median)")
        if why:
            lines.append(f"{a}-{b} ({want}): {'; '.join(why)}")
    return lines
