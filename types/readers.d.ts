// Data that the server of a reader study and its pages exchange (`sightline.web.reader_study.server`, `sightline.data.reader_study.events`).

type Task = "contour" | "point" | "search" | "rate" | "choice";
type Question = { name: string; text: string; anchors: string[] };

/** /api/me */
type ReaderInfo = { reader: string; title: string; shelf: string; turns: { key: string; task: Task; finished: boolean }[] };

/** /api/turns/KEY */
type CaseInfo = {
  key: string;
  task: Task;
  finding: string;
  before: string;
  after: string;
  size: Size;
  letters: string[];
  questions: Question[];
  operations: Operation[];
};

type Content =
  | { kind: "put"; shape: string; points: Point[]; closed?: boolean; at?: number }
  | { kind: "remove"; shape: string }
  | { kind: "answer"; question: string; source?: string; value: string };
/** Operation of a reader without id and clock. */
type Action = Content | { kind: "time"; seconds: number } | { kind: "finish" };
type Operation = Action & { id: string; clock: number };

type Outline = { points: Point[]; closed: boolean; at: number };
/** State of a case after its operations; answers by "question|letter". */
type CaseState = {
  shapes: Map<string, Outline>;
  answers: Map<string, string>;
  seconds: number;
  finished: boolean;
  clock: number;
};

/** Drawing tool with the properties that its buttons use. */
type DrawingTool = Tool & {
  seconds: () => number;
  mode?: string;
  selected?: string | null;
  open?: [id: string, outline: Outline] | null;
  discard(): void;
  close?(): void;
  use?(mode: string): void;
  addEventListener?(name: string, run: () => void): void;
};

/** Part of the page in which a case is read. */
type Workspace = {
  element: HTMLElement;
  imageCanvases: ImageCanvas[];
  rail: Child[];
  keys: Record<string, (() => void) | undefined>;
  enter(): boolean;
  missing(): string;
  close(): void;
};

type SaveKind = "saved" | "saving" | "offline" | "refused" | "shut";
type SaveState = { kind: SaveKind; waiting: number; sentence: string };
