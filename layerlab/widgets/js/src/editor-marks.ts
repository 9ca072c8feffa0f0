// What an editor shows at its lines: which one is wrong, and the verdicts of the next build. Both move with the text.
import { RangeSet, StateEffect, StateField, type Text } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, GutterMarker } from "@codemirror/view";

import { verdictsByLine } from "./pure.ts";
import type { LineVerdict, Verdict } from "./shapes.ts";

export const setBadLine = StateEffect.define<number>();

function badLineOf(doc: Text, wanted: number): DecorationSet {
  const number = Math.min(wanted, doc.lines);
  if (number <= 0) return Decoration.none;
  return Decoration.set([Decoration.line({ class: "ll-bad-line" }).range(doc.line(number).from)]);
}

export const badLine = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(before, transaction) {
    let marks = before.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (effect.is(setBadLine)) marks = badLineOf(transaction.state.doc, effect.value);
    }
    return marks;
  },
  provide: (field) => EditorView.decorations.from(field),
});

class VerdictMarker extends GutterMarker {
  readonly verdict: Verdict;

  constructor(verdict: Verdict) {
    super();
    this.verdict = verdict;
    this.elementClass = `ll-forecast-${verdict}`;
  }

  override eq(other: VerdictMarker): boolean {
    return other.verdict === this.verdict;
  }
}

export const setForecast = StateEffect.define<readonly LineVerdict[]>();

function markersOf(doc: Text, steps: readonly LineVerdict[]): RangeSet<GutterMarker> {
  const verdicts = [...verdictsByLine(steps, doc.lines)];
  const ranges = verdicts.map(([line, verdict]) => new VerdictMarker(verdict).range(doc.line(line).from));
  return RangeSet.of<GutterMarker>(ranges, true);
}

export const forecast = StateField.define<RangeSet<GutterMarker>>({
  create: () => RangeSet.empty,
  update(before, transaction) {
    let marks = before.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (effect.is(setForecast)) marks = markersOf(transaction.state.doc, effect.value);
    }
    return marks;
  },
});
