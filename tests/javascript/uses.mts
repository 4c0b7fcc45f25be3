// What ropewalk.d.mts has to accept and to refuse; checked by tsc where there is one, never run.
import { Ropewalk, RopewalkError, Rotary, Spec, Table, roundToBfloat16 } from '../../javascript/ropewalk.mjs';

export async function uses(): Promise<Float32Array> {
  const rw: Ropewalk = await Ropewalk.load();
  const spec: Spec = rw.spec({ head_dim: 64, layout: 'half', theta: 10000, scaling: { kind: 'yarn', factor: 4, trained_context: 4096n } });
  // @ts-expect-error no such scaling
  rw.spec({ head_dim: 64, layout: 'half', theta: 10000, scaling: { kind: 'yarm', factor: 4 } });
  // @ts-expect-error layouts have words
  rw.spec({ head_dim: 64, layout: 1, theta: 10000 });
  // @ts-expect-error no such field
  rw.spec({ head_dim: 64, layout: 'half', theta: 10000, base: 1 });
  const again: Spec = rw.spec(spec.fields);
  const rotary: Rotary = again.rotary(1000n);
  const turns: BigUint64Array = rotary.turns([0, 2n ** 62n]);
  const table: Table = rotary.table(BigInt64Array.of(turns[0]), { dtype: 'bfloat16' });
  rotary.turns([new Uint32Array(1), new Float64Array(1), BigUint64Array.of(1n)]);
  rw.spec({ ...spec.fields, frequency_multipliers: new Float32Array(32), axis_of_pair: new Uint16Array(32) });
  // @ts-expect-error a factor has to be said
  rw.spec({ head_dim: 64, layout: 'half', theta: 10000, scaling: { kind: 'linear' } });
  // @ts-expect-error no such option
  rotary.rotate(new Float32Array(64), 0, { directon: 'inverse' });
  const x = new Float32Array(64);
  // @ts-expect-error arrays are typed
  rotary.rotate([1, 2], [0]);
  const kinds: string[] = rw.checkpoint('{}', { numerics: 'fp32' }).kinds.map((kind) => kind.name);
  rw.alibi({ heads: kinds.length }).block(0, [1, 2]);
  rw.t5({ heads: 1, table: x }).free();
  rw.sinusoidal({ dim: 8, order: 'concatenated', exponent: 'paper' }).rows([[1n], [2n]]);
  try {
    return roundToBfloat16(rotary.rotateByTable(x, table));
  } catch (error) {
    if (error instanceof RopewalkError && error.status === 'invalid') throw new Error(error.path);
    throw error;
  }
}
