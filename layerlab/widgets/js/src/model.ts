// The side of a widget's model that its page uses.
import type {
  BuildMessage,
  BuildState,
  ExplorerMessage,
  ExplorerState,
  GolfMessage,
  GolfState,
  PredictionMessage,
  PredictionState,
  QuestionMessage,
  QuestionState,
  WhatIfMessage,
  WhatIfState,
  WorkbenchMessage,
  WorkbenchState,
} from "./shapes.ts";

type Event<State> = `change:${keyof State & string}` | "comm_live_update";

export interface Model<State, Message> {
  get<Name extends keyof State>(name: Name): State[Name];
  // Nothing is sent by it: it is for other views of this model in this page.
  set<Name extends keyof State>(name: Name, value: State[Name]): void;
  send(message: Message): void;
  on(event: Event<State>, call: () => void): void;
  off(event: Event<State>, call: () => void): void;
}

// What Jupyter gives to a view, and what a view gives back: the call that ends it.
export interface Context<State, Message> {
  model: Model<State, Message>;
  el: HTMLElement;
}
export type Ended = () => void;

// Listens to a model, and stops when the view goes: a model outlives its views.
export function listener<State, Message>(model: Model<State, Message>) {
  const calls: [Event<State>, () => void][] = [];
  return {
    on(event: Event<State>, call: () => void): void {
      model.on(event, call);
      calls.push([event, call]);
    },
    stop(): void {
      for (const [event, call] of calls) model.off(event, call);
    },
  };
}

interface Contexts {
  workbench: Context<WorkbenchState, WorkbenchMessage>;
  whatif: Context<WhatIfState, WhatIfMessage>;
  build: Context<BuildState, BuildMessage>;
  explorer: Context<ExplorerState, ExplorerMessage>;
  prediction: Context<PredictionState, PredictionMessage>;
  question: Context<QuestionState, QuestionMessage>;
  golf: Context<GolfState, GolfMessage>;
}
export type AnyContext = Contexts[keyof Contexts];

// Which widget it is that Jupyter wants to be drawn: the model says it itself.
export function shows<Kind extends keyof Contexts>(context: AnyContext, kind: Kind): context is Contexts[Kind] {
  const { model }: { model: { get(name: "kind"): string } } = context;
  return model.get("kind") === kind;
}
