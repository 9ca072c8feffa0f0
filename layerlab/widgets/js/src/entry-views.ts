// Widgets without an editor.
import { renderBuild } from "./build-card.ts";
import { renderExplorer } from "./explorer.ts";
import { renderGolf } from "./golf.ts";
import { type AnyContext, type Ended, shows } from "./model.ts";
import { renderPrediction } from "./prediction.ts";
import { renderQuestion } from "./question.ts";

function render(context: AnyContext): Ended | undefined {
  if (shows(context, "build")) return renderBuild(context);
  if (shows(context, "explorer")) return renderExplorer(context);
  if (shows(context, "golf")) return renderGolf(context);
  if (shows(context, "prediction")) return renderPrediction(context);
  if (shows(context, "question")) return renderQuestion(context);
  return undefined;
}

export default { render };
