// SPDX-License-Identifier: Apache-2.0
/* Where texts beside points go, so that none covers another. */

const LINE = 12; // height of a text

/*
 * Where a text of @width goes beside @point so that it covers none of @taken, which then has it too:
 * {x, y} of its left end; null when there is no room. @area: {left, right, top, bottom}.
 */
export function placeOf(point, width, area, taken) {
  const right = [point.x + 9, point.y + 4];
  const left = [point.x - 9 - width, point.y + 4];
  const middle = point.x - width / 2;
  const under = point.y + 15;
  const places = [right, left, [middle, point.y - 9], [middle, point.y + 18], [right[0], under],
    [right[0], point.y - 6], [left[0], under], [left[0], point.y - 6]];
  for (const [x, y] of places) {
    const box = { left: x, right: x + width, top: y - LINE + 2, bottom: y + 2 };
    const inside = box.left >= area.left && box.right <= area.right + 8 && box.bottom <= area.bottom &&
      box.top >= area.top - LINE;
    const free = taken.every((other) => box.right <= other.left || box.left >= other.right ||
      box.bottom <= other.top || box.top >= other.bottom);
    if (!inside || !free) continue;
    taken.push(box);
    return { x, y };
  }
  return null;
}
