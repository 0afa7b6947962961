/** @internal A PATH for the system's programs, also where users do not have /sbin in theirs, and where there is none. */
export function systemPath(): string {
  return [process.env.PATH, "/usr/sbin:/sbin:/usr/bin:/bin"].filter(Boolean).join(":");
}
