// What the server of a reader study and its pages exchange (`sightline.web.reader_study.server`, `sightline.data.reader_study.events`).

type Task = "contour" | "point" | "search" | "rate" | "choice";
type Question = { name: string; text: string; anchors: string[] };

/** /api/me */
type Me = { reader: string; title: string; shelf: string; turns: { key: string; task: Task; finished: boolean }[] };

/** /api/turns/KEY */
type TurnFacts = {
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
/** What a reader did, before it has an id and a clock. */
type Act = Content | { kind: "time"; seconds: number } | { kind: "finish" };
type Operation = Act & { id: string; clock: number };

type Outline = { points: Point[]; closed: boolean; at: number };
/** What the operations of a case come to; answers by "question|letter". */
type CaseState = {
  shapes: Map<string, Outline>;
  answers: Map<string, string>;
  seconds: number;
  finished: boolean;
  clock: number;
};

/** A drawing tool with what its buttons need. */
type DrawingTool = Tool & {
  at: () => number;
  mode?: string;
  chosen?: string | null;
  open?: [id: string, outline: Outline] | null;
  discard(): void;
  close?(): void;
  use?(mode: string): void;
  addEventListener?(name: string, run: () => void): void;
};

/** The part of the page that a case is worked on with. */
type Desk = {
  element: HTMLElement;
  films: Film[];
  rail: Child[];
  keys: Record<string, (() => void) | undefined>;
  enter(): boolean;
  lacks(): string;
  close(): void;
};

type SaveKind = "saved" | "saving" | "offline" | "refused" | "shut";
type SaveState = { kind: SaveKind; waiting: number; sentence: string };
