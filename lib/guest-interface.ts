/** A network device of the host that is the guest's. */
export interface GuestInterface {
  readonly name: string;
  /** Interface index on the host: a device that is made again under the name has another. */
  readonly index: number;
  /** Link-layer address of the host's device. */
  readonly mac: string;
}
