/** @internal A network of QEMU that a card of the guest is on. */
export interface QemuNetwork {
  /** QEMU's name of what the card is connected to: tap, user, vhost-user, … */
  readonly type: string;
  /** Of a tap: the host's device, where QEMU opened it by name. */
  readonly ifname: string | null;
  /** Of a tap: QEMU's descriptor, where it was given one. */
  readonly fd: number | null;
  /** Of the guest's card, as the guest has it now. */
  readonly mac: string | null;
}

/**
 * @internal
 * What the monitor's `info network` tells: a line for each card, and below it what it is connected to, one line for each
 * queue. What no card is connected to is left out.
 */
export function parseInfoNetwork(text: string): QemuNetwork[] {
  const networks: QemuNetwork[] = [];
  let mac: string | null = null;
  for (const line of text.split(/\r?\n/)) {
    const [, peer, type, details = ""] = /^( \\ )?.*?: index=\d+,type=([a-z0-9-]+),?(.*)$/.exec(line) ?? [];
    if (type === undefined) continue;
    const value = (name: string) => new RegExp(`(?:^|,)${name}=([^,]+)`).exec(details)?.[1] ?? null;
    if (peer === undefined) {
      mac = type === "nic" ? value("macaddr") : null;
    } else if (type !== "nic" && type !== "hubport") {
      const fd = value("fd");
      networks.push({ type, ifname: value("ifname"), fd: fd === null ? null : Number(fd), mac });
    }
  }
  return networks;
}
