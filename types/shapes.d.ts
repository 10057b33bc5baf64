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

/** Block of `sightline.web.server.encoding`: fields, arrays and their shapes. */
type Bundle<F, A> = { fields: F; arrays: A; shapes: Record<string, number[]> };

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

type ImageCanvas = import("/web/image-canvas.js").ImageCanvas;
type GrayImage = import("/web/gray-image.js").GrayImage;

type LayerStyle = { visible?: boolean; opacity?: number };
type RasterLayer = LayerStyle & { kind: "raster"; image: OffscreenCanvas; box: Box; smooth?: boolean };
type ContoursLayer = LayerStyle & {
  kind: "contours"; contours: Point[][]; color?: string; width?: number; dash?: number[]; open?: boolean; fill?: string | null;
};
type PointsLayer = LayerStyle & { kind: "points"; points: Point[]; color?: string; radius?: number; shape?: "cross" | "disk" | "ring" };
type CustomLayer = LayerStyle & { kind: "custom"; draw(context: Context2D, film: ImageCanvas): void };
type Layer = RasterLayer | ContoursLayer | PointsLayer | CustomLayer;

/** Drawing tool: it gets the drags of a mouse, a pen or one finger. */
type Tool = {
  down?(at: Point, event: PointerEvent): void;
  move?(at: Point, event: PointerEvent): void;
  up?(at: Point, event: PointerEvent): void;
  hover?(at: Point, event: PointerEvent): void;
  cancel?(): void;
};
type ImageCanvasEvents = { view: View | null; window: GrayWindow; hover: { row: number; col: number; gray: number } | null };

/** Lines of a help text: keys and their effects. */
type KeyLines = [keys: string, does: string][];
