import { isSettled } from './invariants.ts'
import { type Answer, sendLike, spread } from './likes.ts'
import { type System, eventually } from './system.ts'

type Loaded = Pick<System, 'apis' | 'catalog' | 'metrics'>

/** Likes under load while `disturb` goes on; afterwards everything settles. Takes 25 products and users of its own. */
export async function loadDuring(
  system: Loaded,
  firstProduct: number,
  disturb: () => Promise<void>,
): Promise<Answer[]> {
  const answers: Answer[] = []
  const over = new AbortController()
  const disturbed = disturb().finally(() => over.abort())
  const api = (i: number): string => system.apis[i % system.apis.length] ?? ''
  for (let round = 0; round === 0 || !over.signal.aborted; round += 1) {
    await spread(300, 12, async (i) => {
      answers.push(await sendLike(api(i), round * 1_000 + i + 1, firstProduct + (i % 25)))
    })
  }
  await disturbed
  await eventually(() => isSettled(system), 60_000)
  return answers
}

export const isOk = ({ status = 0 }: Answer): boolean => status >= 200 && status < 300

/** Whether one more like is taken, of a user that no load has. */
export const takesLikes =
  ({ apis }: Pick<System, 'apis'>, product: number) =>
  async (): Promise<boolean> =>
    isOk(await sendLike(apis[0] ?? '', 999_999, product))
