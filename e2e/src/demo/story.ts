/** Rows of text; the first cell of a row says what it is about. */
export interface Table {
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

/** What a story measured. `holds` is the verdict: the pattern did its part, and the way before it showed its fault. */
export interface ToldStory {
  readonly kind: 'told'
  readonly title: string
  readonly table: Table
  /** Rows worth seeing as they were, for example of a database view. */
  readonly listing?: { readonly title: string; readonly table: Table }
  readonly holds: boolean
  readonly verdict: string
}

/** A story that could not be told here, and why. */
export interface SkippedStory {
  readonly kind: 'skipped'
  readonly title: string
  readonly why: string
}

export type StoryResult = ToldStory | SkippedStory

/** Speaks while a story runs; some take half a minute. */
export interface Narrator {
  open(title: string, text: string): void
  step(text: string): void
}
