/** A known vulnerability that somebody has looked at, and why it may stay for a while. */
export interface Exception {
  /** As in https://github.com/advisories/GHSA-… */
  advisory: string
  package: string
  reason: string
  /** The last day, such as 2027-01-31. */
  until: string
}

export interface Advisory {
  id: string
  package: string
  severity: string
  title: string
}

export type AuditAnswer = { advisories: Advisory[] } | { unavailable: string }

const severities = ['info', 'low', 'moderate', 'high', 'critical']
const severityMin = 'moderate'
/** Nothing is put off for longer at once. */
const putOffDaysMax = 180
const dayMs = 86_400_000

interface NpmAudit {
  vulnerabilities?: Record<
    string,
    { via: (string | { name: string; title: string; url: string; severity: string })[] }
  >
  message?: string
  statusCode?: number
  error?: { code?: string; summary?: string }
}

/** What `npm audit --json` printed. A registry without that service, or none at all, is an answer too. */
export function readAudit(output: string): AuditAnswer {
  const { vulnerabilities, message, error } = JSON.parse(output) as NpmAudit
  if (vulnerabilities === undefined) {
    // The registry's name is nobody's business.
    const why = message ?? error?.summary ?? 'no reason was given'
    return { unavailable: why.replaceAll(/\s*-?\s*(GET|POST)?\s*https?:\/\/\S+/g, '').trim() }
  }
  const found = Object.values(vulnerabilities)
    .flatMap(({ via }) => via)
    .flatMap((via) =>
      typeof via === 'string'
        ? []
        : [
            {
              id: via.url.slice(via.url.lastIndexOf('/') + 1),
              package: via.name,
              severity: via.severity,
              title: via.title,
            },
          ],
    )
  return {
    advisories: [
      ...new Map(found.map((advisory) => [`${advisory.id} ${advisory.package}`, advisory])).values(),
    ],
  }
}

/** Sentences about what must be mended: vulnerabilities without an exception, and exceptions that no longer hold. Pure. */
export function auditFaults(answer: AuditAnswer, exceptions: readonly Exception[], today: Date): string[] {
  const told = exceptions.flatMap((exception) => exceptionFaults(exception, today))
  if ('unavailable' in answer) return told
  const isExcepted = ({ id, package: name }: Advisory) =>
    exceptions.some((exception) => exception.advisory === id && exception.package === name)
  const serious = answer.advisories.filter(
    ({ severity }) => severities.indexOf(severity) >= severities.indexOf(severityMin),
  )
  const unused = exceptions.filter(
    (exception) =>
      !answer.advisories.some(
        ({ id, package: name }) => id === exception.advisory && name === exception.package,
      ),
  )
  return [
    ...serious
      .filter((advisory) => !isExcepted(advisory))
      .map(({ id, package: name, severity, title }) => `${name}: ${title} (${severity}, ${id}).`),
    ...told,
    ...unused.map((exception) => `${nameOf(exception)} is not needed any more: remove it.`),
  ]
}

function exceptionFaults(exception: Exception, today: Date): string[] {
  const { advisory, package: name, reason, until } = exception
  const end = new Date(`${until}T00:00:00Z`).getTime()
  const missing = Object.entries({ advisory, package: name, reason }).filter(
    ([, value]) => typeof value !== 'string' || value.trim() === '',
  )
  if (missing.length > 0)
    return missing.map(([field]) => `An exception has no ${field}: ${JSON.stringify(exception)}.`)
  if (!/^\d{4}-\d\d-\d\d$/.test(until) || Number.isNaN(end))
    return [`${nameOf(exception)} has no last day such as 2027-01-31.`]
  if (end + dayMs <= today.getTime())
    return [`${nameOf(exception)} ended on ${until}: mend it, or look at it again.`]
  if (end > today.getTime() + putOffDaysMax * dayMs)
    return [`${nameOf(exception)} lasts for more than ${String(putOffDaysMax)} days.`]
  return []
}

const nameOf = ({ advisory, package: name }: Exception): string => `The exception for ${advisory} of ${name}`
