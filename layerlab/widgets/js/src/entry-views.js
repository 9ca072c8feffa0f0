// Widgets without an editor.
import { renderExplorer } from "./explorer.js";
import { renderPrediction } from "./prediction.js";
import { renderQuestion } from "./question.js";

const kinds = { explorer: renderExplorer, prediction: renderPrediction, question: renderQuestion };

export default { render: (context) => kinds[context.model.get("kind")](context) };
