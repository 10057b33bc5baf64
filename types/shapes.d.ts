// Types that the applications in the browser share. Checked by `make javascript`; nothing here is shipped.

/** [row, col] in pixels of the original image, pixel centers at +0.5. */
type Point = [row: number, col: number];
type Size = [height: number, width: number];
type Box = [top: number, left: number, bottom: number, right: number];
type RGB = [red: number, green: number, blue: number];
type View = { scale: number; row: number; col: number };
type GrayWindow = { center: number; width: number; invert: boolean };
type ValueRange = { low: number; high: number; signed: boolean };
type Context2D = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;
type NumberArray =
  | Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> | Int8Array<ArrayBuffer> | Int16Array<ArrayBuffer>
  | Int32Array<ArrayBuffer> | Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** What `sightline.web.server.encoding` packs: facts, arrays and their shapes. */
type Bundle<F, A> = { facts: F; arrays: A; shapes: Record<string, number[]> };

type Child = Node | string | false | null | undefined | Child[];
type Handlers<T> = { [E in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[E] & { target: T }) => unknown };
/** Properties of a new element; others are set under their own names. */
type Props<T> = {
  class?: string;
  on?: Handlers<T>;
  data?: Record<string, string | number>;
  aria?: Record<string, string | undefined>;
  role?: string;
  href?: string;
  [property: string]: unknown;
};

type Film = import("/web/film.js").Film;
type Picture = import("/web/picture.js").Picture;

type Shown = { visible?: boolean; opacity?: number };
type RasterLayer = Shown & { kind: "raster"; image: OffscreenCanvas; box: Box; smooth?: boolean };
type ContoursLayer = Shown & {
  kind: "contours"; contours: Point[][]; color?: string; width?: number; dash?: number[]; open?: boolean; fill?: string | null;
};
type PointsLayer = Shown & { kind: "points"; points: Point[]; color?: string; radius?: number; shape?: "cross" | "disk" | "ring" };
type CustomLayer = Shown & { kind: "custom"; draw(context: Context2D, film: Film): void };
type Layer = RasterLayer | ContoursLayer | PointsLayer | CustomLayer;

/** What draws on a film: it gets the drags of a mouse, a pen or one finger. */
type Tool = {
  down?(at: Point, event: PointerEvent): void;
  move?(at: Point, event: PointerEvent): void;
  up?(at: Point, event: PointerEvent): void;
  hover?(at: Point, event: PointerEvent): void;
  cancel?(): void;
};
type FilmEvents = { view: View | null; window: GrayWindow; hover: { row: number; col: number; gray: number } | null };

/** Lines of a help sheet: keys, and what they do. */
type KeyLines = [keys: string, does: string][];
