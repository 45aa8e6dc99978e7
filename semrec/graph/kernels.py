"""The compiled loops of the searches: breadth first, and Dijkstra with a heap of its own.

Axes as in `search.py`. Each takes the arrays of a graph and holds no interpreter lock.
"""

from __future__ import annotations

import numpy as np

from semrec.compiled import compiled

__all__ = ["around", "breadth_first", "costs_from", "nearest_wanted"]


@compiled
def breadth_first(offsets_N1, targets_E, predicates_E, allowed, sources, steps_SN):  # type: ignore[no-untyped-def]
    """Fills steps_SN for up to 64 sources. Bit s of a word stands for source s."""
    num_nodes = len(offsets_N1) - 1
    seen_N = np.zeros(num_nodes, np.uint64)
    front_N = np.zeros(num_nodes, np.uint64)
    next_N = np.zeros(num_nodes, np.uint64)
    for s in range(len(sources)):
        bit = np.uint64(1) << np.uint64(s)
        seen_N[sources[s]] |= bit
        front_N[sources[s]] |= bit
        steps_SN[s, sources[s]] = 0
    steps, moved = 0, True
    while moved:
        steps += 1
        moved = False
        for node in range(num_nodes):
            word = front_N[node]
            if word == 0:
                continue
            for edge in range(offsets_N1[node], offsets_N1[node + 1]):
                if allowed[predicates_E[edge]]:
                    next_N[targets_E[edge]] |= word
        for node in range(num_nodes):
            new = next_N[node] & ~seen_N[node]
            next_N[node] = 0
            front_N[node] = new
            if new == 0:
                continue
            moved = True
            seen_N[node] |= new
            while new != 0:  # one store per source that arrives: the result's own size
                lowest = new & (~new + np.uint64(1))
                s = _bit_number(lowest)
                steps_SN[s, node] = steps
                new ^= lowest


@compiled
def _bit_number(word):  # type: ignore[no-untyped-def]
    """The number of the one bit that is set in a word."""
    number = 0
    for half in (32, 16, 8, 4, 2, 1):
        if word >> np.uint64(half) != 0:
            word >>= np.uint64(half)
            number += half
    return number


@compiled
def around(offsets_N1, targets_E, predicates_E, allowed, source, num_steps):  # type: ignore[no-untyped-def]
    """(nodes, steps) of all nodes within num_steps of one, in the order they are come to."""
    num_nodes = len(offsets_N1) - 1
    steps_N = np.full(num_nodes, -1, np.int32)
    nodes = np.empty(num_nodes, np.int64)
    nodes[0], steps_N[source] = source, 0
    count, place = 1, 0
    while place < count:
        node = nodes[place]
        place += 1
        if steps_N[node] == num_steps:
            break
        for edge in range(offsets_N1[node], offsets_N1[node + 1]):
            target = targets_E[edge]
            if steps_N[target] < 0 and allowed[predicates_E[edge]]:
                steps_N[target] = steps_N[node] + 1
                nodes[count] = target
                count += 1
    return nodes[:count].copy(), steps_N[nodes[:count]]


@compiled
def _move_up(heap, keys, place_N, place, node, key):  # type: ignore[no-untyped-def]
    """Puts a node at a free `place` of the heap, or as far above as its key has to be.

    Heaps have four children to a node and hold each graph node once, at place_N: a cheaper way moves it up. So they stay small
    enough for the cache, where an entry for each way found would not. The least, by key and then node, is first.
    """
    while place > 0:
        above = (place - 1) >> 2
        if keys[above] < key or (keys[above] == key and heap[above] < node):
            break
        heap[place], keys[place] = heap[above], keys[above]
        place_N[heap[place]] = place
        place = above
    heap[place], keys[place] = node, key
    place_N[node] = place


@compiled
def _take_first(heap, keys, place_N, size):  # type: ignore[no-untyped-def]
    """Takes the first of a heap of `size` away: the last goes into its place, or as far below as its key has to be."""
    size -= 1
    node, key = heap[size], keys[size]
    place = 0
    while True:
        first = 4 * place + 1
        if first >= size:
            break
        least = first
        for child in range(first + 1, min(first + 4, size)):
            if keys[child] < keys[least] or (keys[child] == keys[least] and heap[child] < heap[least]):
                least = child
        if key < keys[least] or (key == keys[least] and node < heap[least]):
            break
        heap[place], keys[place] = heap[least], keys[least]
        place_N[heap[place]] = place
        place = least
    heap[place], keys[place] = node, key
    place_N[node] = place


@compiled
def costs_from(offsets_N1, targets_E, costs_E, source, costs_N):  # type: ignore[no-untyped-def]
    """Fills costs_N, infinite before, with the cost of the cheapest path from `source`."""
    num_nodes = len(offsets_N1) - 1
    heap, keys, place_N = np.empty(num_nodes, np.int32), np.empty(num_nodes), np.empty(num_nodes, np.int32)
    costs_N[source] = 0.0
    _move_up(heap, keys, place_N, 0, source, 0.0)
    size = 1
    while size:
        node, cost_of_node = heap[0], keys[0]
        _take_first(heap, keys, place_N, size)
        size -= 1
        for edge in range(offsets_N1[node], offsets_N1[node + 1]):
            target = targets_E[edge]
            cost = cost_of_node + costs_E[edge]
            if cost < costs_N[target]:
                place = place_N[target]
                if costs_N[target] == np.inf:
                    place = size
                    size += 1
                costs_N[target] = cost
                _move_up(heap, keys, place_N, place, target, cost)


@compiled
def nearest_wanted(  # type: ignore[no-untyped-def]
    offsets_N1, targets_E, predicates_E, allowed, costs_E, source, is_wanted_N, k, is_banned_N, banned_edges, most_nodes
):
    """Dijkstra from `source` until k wanted nodes are settled: (those nodes, the edge to each node, the node before it).

    Nodes of equal cost are settled in the order of their numbers, so the paths are the same ones always.
    """
    num_nodes = len(offsets_N1) - 1
    heap, keys, place_N = np.empty(num_nodes, np.int32), np.empty(num_nodes), np.empty(num_nodes, np.int32)
    costs_N = np.full(num_nodes, np.inf)
    edge_to_N, node_before_N = np.full(num_nodes, -1, np.int64), np.full(num_nodes, -1, np.int64)
    arrived, num_arrived, num_settled = np.empty(k, np.int64), 0, 0
    costs_N[source] = 0.0
    _move_up(heap, keys, place_N, 0, source, 0.0)
    size = 1
    while size and num_arrived < k and num_settled < most_nodes:
        node, cost_of_node = heap[0], keys[0]
        _take_first(heap, keys, place_N, size)
        size -= 1
        num_settled += 1
        if is_wanted_N[node] and node != source:
            arrived[num_arrived] = node
            num_arrived += 1
        for edge in range(offsets_N1[node], offsets_N1[node + 1]):
            target = targets_E[edge]
            cost = cost_of_node + costs_E[edge]
            if cost >= costs_N[target] or is_banned_N[target] or not allowed[predicates_E[edge]]:
                continue
            if len(banned_edges):
                place = np.searchsorted(banned_edges, edge)
                if place < len(banned_edges) and banned_edges[place] == edge:
                    continue
            place = place_N[target]
            if costs_N[target] == np.inf:
                place = size
                size += 1
            costs_N[target], edge_to_N[target], node_before_N[target] = cost, edge, node
            _move_up(heap, keys, place_N, place, target, cost)
    return arrived[:num_arrived], edge_to_N, node_before_N
