// Widgets with an editor.
import { renderWhatIf } from "./whatif.js";
import { renderWorkbench } from "./workbench.js";

const kinds = { workbench: renderWorkbench, whatif: renderWhatIf };

export default { render: (context) => kinds[context.model.get("kind")](context) };
