// Data that the server of a run sends to the viewer (`sightline.web.viewer.column_store`, `sightline.web.viewer.payloads`).

type Source = { name: string; label: string; kind: string; model: string };
type Metric = { name: string; title: string; higher: boolean };
type Column = { protocol: string; metric: string; source: string; file: number; n: number };

/** data/index.json */
type RunIndex = {
  stamp: string;
  title: string;
  run: string;
  data: { name: string | null; title: string | null };
  simulated: boolean;
  notes: string[];
  findings: string[];
  sources: Source[];
  protocols: string[];
  binarizers: Record<string, { all: string; by: Record<string, number>; positive: boolean; drawn: boolean } | undefined>;
  metrics: Metric[];
  columns: Column[];
  readers: string[];
  statuses: string[];
  failed: { source: string; status: string; maps: number }[];
  cutoffs: { model: string; finding: string; cutoff: number }[];
  best: string | null;
};

/** data/cases.bin: the arrays have a value per case, except `patient` and `place`, which have one per radiograph. */
type CaseFields = { radiographs: string[]; patients: string[]; splits: string[]; views: string[] };
type CaseArrays = {
  label: Int8Array<ArrayBuffer>;
  annotated: Uint8Array<ArrayBuffer>;
  patient: Uint32Array<ArrayBuffer>;
  place: Int32Array<ArrayBuffer>;
  area: Float32Array<ArrayBuffer>;
  elongation: Float32Array<ArrayBuffer>;
  irrectangularity: Float32Array<ArrayBuffer>;
  instances: Float32Array<ArrayBuffer>;
};

/** data/failures.json */
type Failure = [case_: number, source: number, status: string, reason: string];

/** data/maps/*.bin: array `m0` belongs to the first map, and so on. */
type MapFields = { source: string; finding: string; status: string; reason: string; kind: string; box: Box; size: Size; shape: Size };
type LoadedMap = MapFields & { values: Float32Array<ArrayBuffer> };
type MapsBundle = Bundle<{ maps: MapFields[] }, Record<string, Float32Array<ArrayBuffer>>>;

/** data/preview/*.bin */
type PreviewFields = { finding: string; source: string; box: Box; shape: Size; signed: boolean };
type Preview = Bundle<{ size: Size | null; maps: PreviewFields[]; truth: Record<string, Point[][]> }, Record<string, Uint8Array<ArrayBuffer>>>;

/** data/marks/*.bin */
type Annotation = { finding: string; reader: string; kind: string; points?: Point[]; contours?: Point[][]; runs?: string };
type Region = { name: string; contours: Point[][] };
type Phrase = { begin: number; end: number; text: string };
type GazeFields = { reader: string; size: Size; phrases: Phrase[]; fixations: string };
type AnnotationsBundle = Bundle<
  { marks: Annotation[]; regions: Region[]; gaze: GazeFields[]; size: Size },
  Record<string, Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>
>;

/** Query for cases in the URL. */
type CaseQuery = {
  source: string;
  protocol: string;
  metric: string;
  statuses: string[];
  findings: string[];
  outcomes: string[];
  low: number | null;
  high: number | null;
  text: string;
  onlyAnnotated: boolean;
  sort: string;
  descending: boolean;
};
/** A value per case. */
type CaseColumns = {
  score: Float32Array<ArrayBuffer>;
  status: Uint8Array<ArrayBuffer>;
  probability: Float32Array<ArrayBuffer>;
  outcome: Uint8Array<ArrayBuffer>;
};

/** Parameters of the URL to set, to repeat or, if null, to remove. */
type Changes = Record<string, string | string[] | null | undefined>;

type LayerSwitch = "map" | "path" | "mask" | "regions" | "peak" | "table" | "density";
/** Settings of a case in the URL. */
type CaseSettings = Record<LayerSwitch, boolean> & {
  source: string;
  protocol: string;
  metric: string;
  visibleSources: string[];
  over: boolean;
  hidden: string[];
  scale: string;
  opacity: number;
  cut: string;
  /** Whether thresholds of maps with negative values act on their positive part. */
  onlyPositive: boolean;
  gaze: string;
  time: number | null;
};

/** A page of the viewer. */
type Page = { element: HTMLElement; update(): Promise<void>; handleKey?(event: KeyboardEvent): boolean };
