/** How names are written into SQL; values never are, they travel as parameters. */
import { tableName } from '../core/change.ts';

export interface TableName {
  readonly schema: string;
  readonly name: string;
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function quoteTable({ schema, name }: TableName): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

export function quoteTables(tables: readonly TableName[]): string {
  return tables.map(quoteTable).join(', ');
}

/** Only where PostgreSQL takes no parameters: replication commands. */
export function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export function tableNames(tables: readonly TableName[]): string {
  return tables.map(tableName).join(', ');
}
